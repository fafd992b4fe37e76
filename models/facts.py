"""What the tasks ask about: the memorised tables, as plain text so that a reader can check and extend them."""

from __future__ import annotations


def table(text: str) -> dict[str, str]:
    """Read `key=value` pairs separated by commas."""
    pairs = (pair.split("=") for pair in text.replace("\n", " ").split(","))
    return {key.strip(): value.strip() for key, value in pairs}


CAPITALS = """
Afghanistan=Kabul, Albania=Tirana, Algeria=Algiers, Angola=Luanda, Argentina=Buenos Aires, Armenia=Yerevan,
Australia=Canberra, Austria=Vienna, Azerbaijan=Baku, Bangladesh=Dhaka, Belarus=Minsk, Belgium=Brussels, Bulgaria=Sofia,
Cambodia=Phnom Penh, Canada=Ottawa, Chad=N'Djamena, Chile=Santiago, China=Beijing, Colombia=Bogota, Croatia=Zagreb,
Cuba=Havana, Cyprus=Nicosia, Denmark=Copenhagen, Ecuador=Quito, Egypt=Cairo, Estonia=Tallinn, Ethiopia=Addis Ababa,
Finland=Helsinki, France=Paris, Georgia=Tbilisi, Germany=Berlin, Ghana=Accra, Greece=Athens, Hungary=Budapest,
Iceland=Reykjavik, India=New Delhi, Indonesia=Jakarta, Iran=Tehran, Iraq=Baghdad, Ireland=Dublin, Italy=Rome,
Jamaica=Kingston, Japan=Tokyo, Jordan=Amman, Kenya=Nairobi, Laos=Vientiane, Latvia=Riga, Lebanon=Beirut, Libya=Tripoli,
Lithuania=Vilnius, Malaysia=Kuala Lumpur, Malta=Valletta, Mexico=Mexico City, Mongolia=Ulaanbaatar, Morocco=Rabat,
Nepal=Kathmandu, New Zealand=Wellington, Nigeria=Abuja, Norway=Oslo, Pakistan=Islamabad, Peru=Lima, Poland=Warsaw,
Portugal=Lisbon, Qatar=Doha, Romania=Bucharest, Russia=Moscow, Rwanda=Kigali, Senegal=Dakar, Serbia=Belgrade,
Slovakia=Bratislava, Slovenia=Ljubljana, Somalia=Mogadishu, Spain=Madrid, Sudan=Khartoum, Sweden=Stockholm,
Syria=Damascus, Thailand=Bangkok, Tunisia=Tunis, Turkey=Ankara, Uganda=Kampala, Ukraine=Kyiv, Uruguay=Montevideo,
Venezuela=Caracas, Vietnam=Hanoi, Zambia=Lusaka, Zimbabwe=Harare
"""

ELEMENTS = """
hydrogen=H, helium=He, lithium=Li, beryllium=Be, boron=B, carbon=C, nitrogen=N, oxygen=O, fluorine=F, neon=Ne,
sodium=Na, magnesium=Mg, aluminium=Al, silicon=Si, phosphorus=P, sulfur=S, chlorine=Cl, argon=Ar, potassium=K,
calcium=Ca, scandium=Sc, titanium=Ti, vanadium=V, chromium=Cr, manganese=Mn, iron=Fe, cobalt=Co, nickel=Ni, copper=Cu,
zinc=Zn, gallium=Ga, germanium=Ge, arsenic=As, selenium=Se, bromine=Br, krypton=Kr, rubidium=Rb, strontium=Sr,
zirconium=Zr, niobium=Nb, molybdenum=Mo, silver=Ag, cadmium=Cd, tin=Sn, antimony=Sb, iodine=I, xenon=Xe, caesium=Cs,
barium=Ba, tungsten=W, platinum=Pt, gold=Au, mercury=Hg, lead=Pb, bismuth=Bi, radon=Rn, radium=Ra, uranium=U,
plutonium=Pu, palladium=Pd
"""

OPPOSITES = """
hot=cold, big=small, fast=slow, up=down, left=right, open=closed, full=empty, wet=dry, hard=soft, high=low,
long=short, old=new, rich=poor, strong=weak, thick=thin, wide=narrow, bright=dark, early=late, clean=dirty, happy=sad,
loud=quiet, smooth=rough, sharp=blunt, deep=shallow, near=far, true=false, alive=dead, awake=asleep, brave=cowardly,
cheap=expensive, first=last, good=bad, inside=outside, above=below, always=never, before=after, begin=end, buy=sell,
win=lose, love=hate, public=private, push=pull, give=take, north=south, east=west, day=night, summer=winter,
friend=enemy, young=elderly, accept=reject, arrive=depart, ascend=descend, float=sink, lend=borrow, laugh=cry,
arrival=departure, guilty=innocent, ancient=modern, maximum=minimum, vertical=horizontal, increase=decrease,
success=failure, victory=defeat, war=peace
"""

PAST_TENSES = """
go=went, see=saw, take=took, come=came, give=gave, find=found, think=thought, tell=told, become=became, leave=left,
feel=felt, bring=brought, begin=began, keep=kept, hold=held, write=wrote, stand=stood, hear=heard, mean=meant,
meet=met, run=ran, pay=paid, sit=sat, speak=spoke, lead=led, grow=grew, lose=lost, fall=fell, send=sent, build=built,
draw=drew, break=broke, spend=spent, rise=rose, drive=drove, buy=bought, wear=wore, choose=chose, eat=ate,
drink=drank, fly=flew, sing=sang, swim=swam, teach=taught, catch=caught, fight=fought, sleep=slept, steal=stole,
throw=threw, blow=blew, know=knew, forget=forgot, freeze=froze, hide=hid, ride=rode, ring=rang, shake=shook,
shine=shone, shoot=shot, sink=sank, slide=slid, stick=stuck, strike=struck, swear=swore, tear=tore, wake=woke,
win=won, bite=bit, bend=bent, bind=bound, dig=dug, feed=fed, flee=fled, hang=hung, kneel=knelt, lend=lent,
seek=sought, sell=sold, spin=spun, weave=wove
"""

CONTINENTS = """
Africa=Algeria Angola Chad Ethiopia Ghana Kenya Libya Morocco Nigeria Rwanda Senegal Somalia Sudan Tunisia Uganda
Zambia Zimbabwe, Asia=Afghanistan Bangladesh Cambodia China India Indonesia Iran Iraq Japan Jordan Laos Lebanon
Malaysia Mongolia Nepal Pakistan Qatar Syria Thailand Vietnam, Europe=Albania Austria Belarus Belgium Bulgaria Croatia
Denmark Estonia Finland France Germany Greece Hungary Iceland Ireland Italy Latvia Lithuania Malta Norway Poland
Portugal Romania Serbia Slovakia Slovenia Spain Sweden Ukraine, North America=Canada Cuba Jamaica Mexico, South
America=Argentina Chile Colombia Ecuador Peru Uruguay Venezuela
"""

METRIC = (
    ("kilometres", "metres", "km", "m", 1000),
    ("metres", "centimetres", "m", "cm", 100),
    ("centimetres", "millimetres", "cm", "mm", 10),
    ("kilograms", "grams", "kg", "g", 1000),
    ("litres", "millilitres", "l", "ml", 1000),
    ("tonnes", "kilograms", "t", "kg", 1000),
)

DURATION = (
    ("hours", "minutes", "h", "min", 60),
    ("minutes", "seconds", "min", "s", 60),
    ("days", "hours", "d", "h", 24),
    ("weeks", "days", "wk", "d", 7),
    ("years", "months", "yr", "mo", 12),
)

MONTHS = (
    ("January", 31), ("February", 28), ("March", 31), ("April", 30), ("May", 31), ("June", 30),
    ("July", 31), ("August", 31), ("September", 30), ("October", 31), ("November", 30), ("December", 31),
)  # fmt: skip
