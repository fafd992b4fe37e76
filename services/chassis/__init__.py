"""What every service stands on; knows no domain and no contract."""
