"""The shipped router: fitted on what the two reference models answered right, with the script that fitted it."""
