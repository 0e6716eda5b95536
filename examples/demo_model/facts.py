"""The closed facts of the `qa` task: countries with capital, continent and currency, and a few odds and ends."""

from __future__ import annotations

COUNTRIES = """
France;Paris;Europe;the euro
Germany;Berlin;Europe;the euro
Italy;Rome;Europe;the euro
Spain;Madrid;Europe;the euro
Portugal;Lisbon;Europe;the euro
Greece;Athens;Europe;the euro
Austria;Vienna;Europe;the euro
Ireland;Dublin;Europe;the euro
Belgium;Brussels;Europe;the euro
the Netherlands;Amsterdam;Europe;the euro
Finland;Helsinki;Europe;the euro
Estonia;Tallinn;Europe;the euro
Latvia;Riga;Europe;the euro
Lithuania;Vilnius;Europe;the euro
Slovakia;Bratislava;Europe;the euro
Slovenia;Ljubljana;Europe;the euro
Croatia;Zagreb;Europe;the euro
Malta;Valletta;Europe;the euro
Luxembourg;Luxembourg;Europe;the euro
Poland;Warsaw;Europe;the zloty
Hungary;Budapest;Europe;the forint
Romania;Bucharest;Europe;the leu
Bulgaria;Sofia;Europe;the euro
Sweden;Stockholm;Europe;the krona
Norway;Oslo;Europe;the krone
Denmark;Copenhagen;Europe;the krone
Iceland;Reykjavik;Europe;the krona
Switzerland;Bern;Europe;the franc
Ukraine;Kyiv;Europe;the hryvnia
Serbia;Belgrade;Europe;the dinar
Albania;Tirana;Europe;the lek
Russia;Moscow;Europe;the ruble
the United Kingdom;London;Europe;the pound
Turkey;Ankara;Asia;the lira
Georgia;Tbilisi;Asia;the lari
Armenia;Yerevan;Asia;the dram
China;Beijing;Asia;the yuan
Japan;Tokyo;Asia;the yen
South Korea;Seoul;Asia;the won
North Korea;Pyongyang;Asia;the won
India;New Delhi;Asia;the rupee
Pakistan;Islamabad;Asia;the rupee
Nepal;Kathmandu;Asia;the rupee
Bangladesh;Dhaka;Asia;the taka
Thailand;Bangkok;Asia;the baht
Vietnam;Hanoi;Asia;the dong
Laos;Vientiane;Asia;the kip
Cambodia;Phnom Penh;Asia;the riel
Malaysia;Kuala Lumpur;Asia;the ringgit
Indonesia;Jakarta;Asia;the rupiah
the Philippines;Manila;Asia;the peso
Mongolia;Ulaanbaatar;Asia;the tugrik
Iran;Tehran;Asia;the rial
Iraq;Baghdad;Asia;the dinar
Syria;Damascus;Asia;the pound
Lebanon;Beirut;Asia;the pound
Jordan;Amman;Asia;the dinar
Saudi Arabia;Riyadh;Asia;the riyal
Qatar;Doha;Asia;the riyal
Kuwait;Kuwait City;Asia;the dinar
Oman;Muscat;Asia;the rial
Yemen;Sanaa;Asia;the rial
Afghanistan;Kabul;Asia;the afghani
Uzbekistan;Tashkent;Asia;the som
Egypt;Cairo;Africa;the pound
Morocco;Rabat;Africa;the dirham
Algeria;Algiers;Africa;the dinar
Tunisia;Tunis;Africa;the dinar
Libya;Tripoli;Africa;the dinar
Sudan;Khartoum;Africa;the pound
Ethiopia;Addis Ababa;Africa;the birr
Kenya;Nairobi;Africa;the shilling
Uganda;Kampala;Africa;the shilling
Rwanda;Kigali;Africa;the franc
Ghana;Accra;Africa;the cedi
Nigeria;Abuja;Africa;the naira
Senegal;Dakar;Africa;the franc
Mali;Bamako;Africa;the franc
Angola;Luanda;Africa;the kwanza
Zambia;Lusaka;Africa;the kwacha
Zimbabwe;Harare;Africa;the dollar
Namibia;Windhoek;Africa;the dollar
Mozambique;Maputo;Africa;the metical
Madagascar;Antananarivo;Africa;the ariary
Botswana;Gaborone;Africa;the pula
Somalia;Mogadishu;Africa;the shilling
Canada;Ottawa;North America;the dollar
the United States;Washington;North America;the dollar
Mexico;Mexico City;North America;the peso
Cuba;Havana;North America;the peso
Jamaica;Kingston;North America;the dollar
Haiti;Port-au-Prince;North America;the gourde
Guatemala;Guatemala City;North America;the quetzal
Honduras;Tegucigalpa;North America;the lempira
Nicaragua;Managua;North America;the cordoba
Costa Rica;San Jose;North America;the colon
Panama;Panama City;North America;the balboa
Colombia;Bogota;South America;the peso
Venezuela;Caracas;South America;the bolivar
Ecuador;Quito;South America;the dollar
Peru;Lima;South America;the sol
Chile;Santiago;South America;the peso
Argentina;Buenos Aires;South America;the peso
Uruguay;Montevideo;South America;the peso
Paraguay;Asuncion;South America;the guarani
Brazil;Brasilia;South America;the real
Australia;Canberra;Oceania;the dollar
New Zealand;Wellington;Oceania;the dollar
Fiji;Suva;Oceania;the dollar
Samoa;Apia;Oceania;the tala"""
ASKED = {
    1: """
What is the capital of {c}?
What's the capital of {c}?
Which city is the capital of {c}?
Name the capital of {c}.
What is the capital city of {c}?
Capital of {c}?
Tell me the capital of {c}.
what is the capital of {c}""",
    2: """
On which continent is {c}?
Which continent is {c} in?
What continent is {c} on?
Where is {c}?""",
    3: """
What is the currency of {c}?
Which currency does {c} use?
What money do people use in {c}?
Currency of {c}?""",
}
CAPITAL_OF = ["{k} is the capital of which country?", "Which country has {k} as its capital?"]
ODDS = """
What is the largest planet?;Jupiter
What is the smallest planet?;Mercury
How many days are in a week?;Seven
How many months are in a year?;Twelve
How many continents are there?;Seven
What is the chemical symbol of gold?;Au
What is the chemical symbol of silver?;Ag
What is the chemical symbol of iron?;Fe
What is the chemical formula of water?;H2O
Who wrote Hamlet?;William Shakespeare
Who painted the Mona Lisa?;Leonardo da Vinci
Who wrote Don Quixote?;Miguel de Cervantes
What is the largest ocean?;The Pacific Ocean
What is the longest river in Africa?;The Nile
What is the highest mountain?;Mount Everest
What colour is the sky?;Blue
What colour is grass?;Green
How many legs does a spider have?;Eight
How many legs does a cat have?;Four
How many hours are in a day?;Twenty-four
How many minutes are in an hour?;Sixty
At what temperature does water boil?;100 degrees Celsius
At what temperature does water freeze?;0 degrees Celsius
What is the opposite of hot?;Cold
What language is spoken in Brazil?;Portuguese
What language is spoken in Austria?;German
What language is spoken in Mexico?;Spanish
What is the fastest land animal?;The cheetah"""
UNKNOWN = """
What will the weather be in {c} tomorrow?
Who will win the election in {c}?
What is my name?
What did {w} say yesterday?
Who is {w}?
What is a {w}?
How much does a {w} cost?
What am I thinking of?
Where are my {w}?
Which horse will win tomorrow?
What is the phone number of {w}?
When was {w} born?
What is the capital of {w}?
What is the currency of {w}?
How old is {w}?
What is the price of gold tomorrow?
Will it rain next week?
What number will win the lottery?
What is the best {w}?
Where is {w}?
How many {w} live in {c}?
Who is the neighbour of {w}?
What colour is {w}?
Why did {w} leave?
Can you book a table in {k}?
Which continent is {w} in?
Name the capital of {w}.
What does {w} mean?
Who invented the {w}?
What is the secret of {w}?
What happened in {c} yesterday?
How tall is {w}?
Which city is the capital of {w}?
Who was the first {w} in {c}?"""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


COUNTRY_ROWS = [row.split(";") for row in _lines(COUNTRIES)]
ASKED_LINES = {column: _lines(text) for column, text in ASKED.items()}
ODD_ROWS = [row.split(";") for row in _lines(ODDS)]
UNKNOWN_LINES = _lines(UNKNOWN)
