"""The products that the demo model can name in English, French and Spanish, and how each language bends around them.

It knows grammar (article, gender, number, elision), not reviews. `python -m examples.demo_model.nouns` prints the list.
"""

from __future__ import annotations

from dataclasses import dataclass

# English; French noun and gender-number; Spanish noun and gender-number. "p" is plural, in all three languages.
TABLE = """
kettle;bouilloire f;hervidor m
electric kettle;bouilloire électrique f;hervidor eléctrico m
teapot;théière f;tetera f
toaster;grille-pain m;tostadora f
blender;mixeur m;batidora f
coffee machine;machine à café f;cafetera f
coffee grinder;moulin à café m;molinillo de café m
frying pan;poêle f;sartén f
saucepan;casserole f;cacerola f
oven;four m;horno m
fridge;réfrigérateur m;nevera f
freezer;congélateur m;congelador m
dishwasher;lave-vaisselle m;lavavajillas m
washing machine;machine à laver f;lavadora f
dryer;sèche-linge m;secadora f
vacuum cleaner;aspirateur m;aspiradora f
iron;fer à repasser m;plancha f
fan;ventilateur m;ventilador m
heater;radiateur m;calefactor m
lamp;lampe f;lámpara f
desk lamp;lampe de bureau f;lámpara de escritorio f
desk;bureau m;escritorio m
chair;chaise f;silla f
office chair;chaise de bureau f;silla de oficina f
armchair;fauteuil m;sillón m
sofa;canapé m;sofá m
bed;lit m;cama f
mattress;matelas m;colchón m
pillow;oreiller m;almohada f
blanket;couverture f;manta f
towel;serviette f;toalla f
curtain;rideau m;cortina f
carpet;tapis m;alfombra f
mirror;miroir m;espejo m
shelf;étagère f;estantería f
wardrobe;armoire f;armario m
table;table f;mesa f
clock;horloge f;reloj de pared m
alarm clock;réveil m;despertador m
watch;montre f;reloj m
phone;téléphone m;teléfono m
phone case;coque de téléphone f;funda de móvil f
laptop;ordinateur portable m;portátil m
tablet;tablette f;tableta f
keyboard;clavier m;teclado m
mouse;souris f;ratón m
wireless mouse;souris sans fil f;ratón inalámbrico m
screen;écran m;pantalla f
printer;imprimante f;impresora f
camera;appareil photo m;cámara f
speaker;enceinte f;altavoz m
radio;radio f;radio f
television;télévision f;televisión f
charger;chargeur m;cargador m
cable;câble m;cable m
battery;batterie f;batería f
router;routeur m;router m
microphone;micro m;micrófono m
headset;casque m;casco m
umbrella;parapluie m;paraguas m
backpack;sac à dos m;mochila f
suitcase;valise f;maleta f
handbag;sac à main m;bolso m
wallet;portefeuille m;cartera f
jacket;veste f;chaqueta f
coat;manteau m;abrigo m
dress;robe f;vestido m
skirt;jupe f;falda f
shirt;chemise f;camisa f
hat;chapeau m;sombrero m
scarf;écharpe f;bufanda f
belt;ceinture f;cinturón m
bicycle;vélo m;bicicleta f
helmet;casque de vélo m;casco de bicicleta m
scooter;trottinette f;patinete m
tent;tente f;tienda de campaña f
sleeping bag;sac de couchage m;saco de dormir m
water bottle;gourde f;botella de agua f
guitar;guitare f;guitarra f
piano;piano m;piano m
violin;violon m;violín m
book;livre m;libro m
notebook;cahier m;cuaderno m
pen;stylo m;bolígrafo m
puzzle;puzzle m;rompecabezas m
drill;perceuse f;taladro m
hammer;marteau m;martillo m
saw;scie f;sierra f
ladder;échelle f;escalera f
lawn mower;tondeuse f;cortacésped m
hair dryer;sèche-cheveux m;secador de pelo m
toothbrush;brosse à dents f;cepillo de dientes m
razor;rasoir m;maquinilla de afeitar f
knife;couteau m;cuchillo m
pot;marmite f;olla f
thermos;thermos m;termo m
scale;balance f;báscula f
headphones;écouteurs mp;auriculares mp
wireless headphones;écouteurs sans fil mp;auriculares inalámbricos mp
running shoes;chaussures de course fp;zapatillas de correr fp
shoes;chaussures fp;zapatos mp
boots;bottes fp;botas fp
sandals;sandales fp;sandalias fp
gloves;gants mp;guantes mp
socks;chaussettes fp;calcetines mp
sunglasses;lunettes de soleil fp;gafas de sol fp
glasses;lunettes fp;gafas fp
scissors;ciseaux mp;tijeras fp
""".strip()


@dataclass(frozen=True)
class Noun:
    """One noun in one language."""

    word: str
    gender: str
    plural: bool


@dataclass(frozen=True)
class Product:
    """A product as a review calls it: a brand, a known noun, both, or a word that no dictionary has."""

    text: str
    brand: str = ""
    noun: str = ""

    @property
    def plural(self) -> bool:
        return bool(self.noun) and FRENCH[self.noun].plural


def _noun(field: str) -> Noun:
    word, _, mark = field.rpartition(" ")
    return Noun(word, mark[0], mark.endswith("p"))


_rows = [line.split(";") for line in TABLE.splitlines()]
FRENCH = {row[0]: _noun(row[1]) for row in _rows}
SPANISH = {row[0]: _noun(row[2]) for row in _rows}
NOUNS = [row[0] for row in _rows]


def french(product: Product) -> tuple[str, str]:
    """The product with its article, and the ending that adjectives take: "", "e", "s" or "es"."""
    if not product.noun:
        return f"le produit {product.text}", ""
    noun = FRENCH[product.noun]
    # Every h in the table is mute (horloge).
    if noun.plural:
        start = "les "
    elif noun.word[0] in "aeiouéèêh":
        start = "l'"
    else:
        start = {"m": "le ", "f": "la "}[noun.gender]
    ending = ("e" if noun.gender == "f" else "") + ("s" if noun.plural else "")
    return start + noun.word + (f" {product.brand}" if product.brand else ""), ending


def spanish(product: Product) -> tuple[str, str]:
    """The product with its article, and the ending that adjectives take: "o", "a", "os" or "as"."""
    if not product.noun:
        return f"el producto {product.text}", "o"
    noun = SPANISH[product.noun]
    start = {"m": "el ", "f": "la ", "mp": "los ", "fp": "las "}[noun.gender + ("p" if noun.plural else "")]
    ending = {"m": "o", "f": "a"}[noun.gender] + ("s" if noun.plural else "")
    return start + noun.word + (f" {product.brand}" if product.brand else ""), ending


if __name__ == "__main__":
    for known in NOUNS:
        both = Product(f"Zorvex {known}", "Zorvex", known)
        print(f"{both.text}: {french(both)[0]}, {spanish(both)[0]}")
