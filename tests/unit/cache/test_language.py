"""Similar answers are for the language that the encoder was trained on."""

from pathlib import Path

import pytest

from services.cache.decision import MissReason
from services.cache.language import is_english
from tests.unit.cache.parts import ask, embedding, keep, opened, reason

OTHERS = {
    "Swedish": (
        "Hur laddar jag mitt kort?|Var är mitt kort?|Hur byter jag lösenord?|"
        "Kan jag avbryta min prenumeration?|Vad kostar en överföring?|Visa mig vädret i Stockholm|"
        "Ring min mamma|Sätt en timer på fem minuter|Varför blev min betalning nekad?|"
        "Mitt kort fungerar inte|Byt namn|Jag vill ha pengarna tillbaka"
    ),
    "Polish": (
        "Jak doładować kartę?|Gdzie jest moja karta?|Jak zmienić hasło?|"
        "Czy mogę anulować subskrypcję?|Ile kosztuje przelew?|Jaka jest pogoda w Warszawie?|"
        "Ustaw minutnik na pięć minut|Dlaczego moja płatność została odrzucona?|Moja karta nie dziala|"
        "Zmien haslo|Kto to jest?|Co mam robic"
    ),
    "Turkish": (
        "Kartımı nasıl yüklerim?|Kartım nerede?|Şifremi nasıl değiştiririm?|"
        "Aboneliğimi iptal edebilir miyim?|Havale ne kadar tutar?|Ankara'da hava nasıl?|"
        "Beş dakika zamanlayıcı kur|Ödemem neden reddedildi?|Kartim calismiyor|"
        "Annemi ara|Sifremi degistir|Bu para nerede"
    ),
    "Indonesian": (
        "Bagaimana cara mengisi ulang kartu saya?|Di mana kartu saya?|Ubah kata sandi|"
        "Bisakah saya membatalkan langganan?|Berapa biaya transfer?|Cuaca di Jakarta hari ini|"
        "Pasang timer lima menit|Kenapa pembayaran saya ditolak?|Kartu saya tidak berfungsi|"
        "Telepon ibu|Siapa presiden sekarang|Saya mau uang kembali"
    ),
    "Vietnamese": (
        "Làm thế nào để nạp tiền vào thẻ?|Thẻ của tôi ở đâu?|Đổi mật khẩu|"
        "Tôi có thể hủy đăng ký không?|Phí chuyển tiền là bao nhiêu?|Thời tiết ở Hà Nội|"
        "Dat hen gio nam phut|The cua toi khong hoat dong|Lam the nao de doi mat khau|"
        "Gọi cho mẹ|Tai sao the bi tu choi|Ai là chủ tịch nước"
    ),
    "Italian": (
        "Come cambio la password?|Dove si trova la mia carta?|Come ricarico la carta?|"
        "Posso annullare il mio abbonamento?|Quanto costa un bonifico?|Che tempo fa a Roma?|"
        "Imposta un timer di cinque minuti|Perché il mio pagamento è stato rifiutato?|La carta non funziona|"
        "Chiama mamma|Cambia password|Cosa significa questa parola"
    ),
    "German": (
        "Wie lade ich meine Karte auf?|Wo ist meine Karte?|Passwort ändern|"
        "Kann ich mein Abo kündigen?|Was kostet eine Überweisung?|Wie ist das Wetter in Berlin?|"
        "Stell einen Timer auf fünf Minuten|Warum wurde meine Zahlung abgelehnt?|Meine Karte geht nicht|"
        "Ruf Mama an|Wer ist das|Ich will mein Geld"
    ),
    "French": (
        "Comment recharger ma carte ?|Où est ma carte ?|Changer le mot de passe|"
        "Puis-je annuler mon abonnement ?|Combien coûte un virement ?|Quel temps fait-il à Paris ?|"
        "Mets un minuteur de cinq minutes|Pourquoi mon paiement est-il refusé ?|Ma carte ne marche pas|"
        "Appelle maman|Qui est le président|Je veux mon argent"
    ),
    "Spanish": (
        "¿Cómo recargo mi tarjeta?|¿Dónde está mi tarjeta?|Cambiar la clave|"
        "¿Puedo cancelar mi suscripción?|¿Cuánto cuesta una transferencia?|Qué tiempo hace en Madrid|"
        "Pon un temporizador de cinco minutos|¿Por qué fue rechazado mi pago?|Mi tarjeta no funciona|"
        "Llama a mama|Quien es el presidente|Quiero mi dinero"
    ),
    "Portuguese": (
        "Como recarrego o meu cartão?|Onde está o meu cartão?|Mudar a senha|"
        "Posso cancelar a assinatura?|Quanto custa uma transferência?|Como está o tempo em Lisboa?|"
        "Ponha um timer de cinco minutos|Por que o meu pagamento foi recusado?|Meu cartao nao funciona|"
        "Liga para a mae|Quem é o presidente|Eu quero o meu dinheiro"
    ),
    "Dutch": (
        "Hoe laad ik mijn kaart op?|Waar is mijn kaart?|Wachtwoord wijzigen|"
        "Kan ik mijn abonnement opzeggen?|Wat kost een overboeking?|Wat is het weer in Amsterdam?|"
        "Zet een timer op vijf minuten|Waarom is mijn betaling geweigerd?|Mijn kaart werkt niet|"
        "Bel mama|Wie is de president|Ik wil mijn geld terug"
    ),
    "Danish": (
        "Hvordan fylder jeg mit kort op?|Hvor er mit kort?|Skift adgangskode|"
        "Kan jeg opsige mit abonnement?|Hvad koster en overførsel?|Hvordan er vejret i dag?|"
        "Sæt en timer til fem minutter|Hvorfor blev min betaling afvist?|Mit kort virker ikke|"
        "Ring til mor|Hvem er det|Jeg vil have mine penge"
    ),
    "Czech": (
        "Jak dobiju kartu?|Kde je moje karta?|Změnit heslo|"
        "Mohu zrušit předplatné?|Kolik stojí převod?|Jaké je počasí v Praze?|"
        "Nastav časovač na pět minut|Proč byla moje platba zamítnuta?|Karta nefunguje|"
        "Zavolej mame|Kdo to je|Chci zpet penize"
    ),
    "Hungarian": (
        "Hogyan töltöm fel a kártyámat?|Hol van a kártyám?|Jelszó módosítása|"
        "Lemondhatom az előfizetést?|Mennyibe kerül az átutalás?|Milyen az idő Budapesten?|"
        "Állíts be öt perces időzítőt|Miért utasították el?|Nem mukodik a kartyam|"
        "Hivd anyat|Ki ez|Kerem vissza a penzem"
    ),
    "Finnish": (
        "Miten lataan korttini?|Missä korttini on?|Vaihda salasana|"
        "Voinko perua tilauksen?|Paljonko siirto maksaa?|Millainen sää on Helsingissä?|"
        "Aseta ajastin viiteen minuuttiin|Miksi maksuni hylättiin?|Kortti ei toimi|"
        "Soita aidille|Kuka se on|Haluan rahani takaisin"
    ),
    "Romanian": (
        "Cum imi incarc cardul?|Unde este cardul meu?|Schimbă parola|"
        "Pot anula abonamentul?|Cât costă un transfer?|Cum este vremea la București?|"
        "Cine are cardul|De ce a fost respinsa plata|Cardul nu merge|"
        "Suna pe mama|Cine este|Vreau banii inapoi"
    ),
}


ALIKE = (  # made of words that English has as well
    "Was dat een bug", "Are dreptate", "On a dit quoi", "Me has dado mal", "Is Jan er al", "Send penge til Anna",
    "Help me met een account", "Toi quen ma pin", "Posso avere una card", "Will das Team so arbeiten",
)  # fmt: skip


@pytest.mark.parametrize("language", OTHERS)
def test_no_evidence_for_english(language: str) -> None:
    """No prompt of one to seven words in sixteen other languages of Latin letters is taken for English."""
    assert not [text for text in OTHERS[language].split("|") if is_english(text)]


@pytest.mark.parametrize(
    "text", ["Ring mamma", "Cambia password", "Reset password", "Ubah kata sandi", "Timer", "ok", *ALIKE]
)
def test_no_evidence_at_all(text: str) -> None:
    """A prompt of a word or two that could be of several languages gets no similar answer."""
    assert not is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Wie lade ich meine Karte auf?",
        "¿Cómo puedo cancelar una suscripción?",
        "Pourquoi est-ce que mon virement est en attente ?",
        "如何充值我的卡",
        "Как пополнить карту?",
        "どうやってカードをチャージしますか",
    ],
)
def test_other_languages(text: str) -> None:
    """Other scripts, and other languages' most frequent words, give a prompt away."""
    assert not is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "How do I top up my card?",
        "top up",
        "Norway's capital?",
        "Is Oslo a city?",
        "Can I cancel?",
        "show nearby restaurants",
        "x",
        "What does the French word 'pourquoi' mean?",
        "What is the capital of Côte d'Ivoire?",
        "Who is 金庸, the author?",
        "12 * 7",
    ],
)
def test_english_with_foreign_names(text: str) -> None:
    """A foreign name, word or no word at all leaves a prompt English."""
    assert is_english(text)


def test_no_similar_answer_in_another_language(tmp_path: Path) -> None:
    """The lookup says so, and the same text is still found."""
    german = "Wie lade ich meine Karte auf?"
    with opened(tmp_path) as cache:
        cache.store(keep("Wie lade ich die Karte auf?", embedding=embedding()))
        assert reason(cache.lookup(ask(german, embedding=embedding(0.99)))) is MissReason.LANGUAGE
        cache.store(keep(german, embedding=embedding(0.99)))
        assert reason(cache.lookup(ask(german, embedding=embedding(0.99)))) is None
