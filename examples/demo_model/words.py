"""Invented words, brands and products: without end, so that the model learns to copy instead of to remember.

Everything is drawn from the `random.Random` handed in. It knows nothing about tasks.
"""

from __future__ import annotations

from random import Random

from .nouns import NOUNS, Product


def _words(text: str) -> list[str]:
    return text.split()


ONSETS = _words(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p ph pl pr qu r s sc sh sk sl sp st str t th tr v w x z"
)
VOWELS = _words("a e i o u a e i o u ai ea ee ie io oa oo ou au y")
CODAS = _words("b ck d f g l ll m mp n nd ng nk nt p r rd rk rn rt s sh ss st t th v x z")
SUFFIXES = _words("a er en ex ia io ix o on or um us y ify ette able ing tion")
MODELS = _words("Pro Max Mini Plus Air Lite Go One Home Studio Classic Ultra Sport Neo")
_ENGLISH = _words(
    "telescope drone tripod projector charcoal grill juicer humidifier stroller crib trumpet flute drum banjo easel "
    "candle vase pitcher corkscrew spatula whisk ladle tray basket bucket broom mop sponge soap shampoo perfume "
    "lotion comb brush ring necklace bracelet earring hoodie sweater jeans shorts pyjamas slippers apron tie mask "
    "racket ball skateboard surfboard kayak paddle rope compass map globe poster frame clamp wrench screwdriver pliers "
    "nail screw tape glue paint roller shovel rake hose sprinkler planter seed pump filter heater thermostat doorbell "
    "lock safe sensor modem monitor webcam joystick console cartridge stapler folder binder calendar eraser marker "
    "crayon pencil ruler calculator dictionary atlas magazine bookcase bench stool hammock cushion duvet rug lantern "
    "torch bulb switch plug socket adapter battery inverter generator trailer tyre pedal saddle bell mirror wiper"
)
# A word that the table translates is never an unknown product.
REAL = [word for word in _ENGLISH if word not in NOUNS]


def pseudo_word(random: Random, most: int = 3) -> str:
    """A lower-case word of one to `most` syllables that looks pronounceable."""
    word = ""
    for _ in range(random.choice([1, 2, 2, 2, 3][: most + 2])):
        word += random.choice(ONSETS if word or random.random() < 0.8 else [""]) + random.choice(VOWELS)
        if random.random() < 0.4:
            word += random.choice(CODAS)
    if random.random() < 0.4:
        word += random.choice(SUFFIXES)
    return word if 3 <= len(word) <= 12 else pseudo_word(random, most)


def brand(random: Random) -> str:
    draw = random.random()
    if draw < 0.05:
        return "".join(random.choice("ABCDEFGHKLMNPRSTVXZ") for _ in range(random.randint(2, 4)))
    if draw < 0.15:
        return random.choice(REAL).capitalize()
    return pseudo_word(random).capitalize()


def model_name(random: Random) -> str:
    draw = random.random()
    if draw < 0.5:
        return random.choice(MODELS)
    if draw < 0.75:
        return random.choice("ABCDEFGHKLMNPRSTVXZ") + str(random.randint(1, 99))
    return str(random.choice([2, 3, 4, 5, 7, 10, 20, 50, 100, 200, 300, 500]))


def product(random: Random) -> Product:
    """Half of the products are known nouns with a brand, the others bare nouns and words that no dictionary has."""
    draw = random.random()
    noun = random.choice(NOUNS)
    if draw < 0.16:
        return Product(noun, "", noun)
    if draw < 0.64:
        made_by = brand(random)
        if random.random() < 0.2:
            made_by += f" {model_name(random)}"
        return Product(f"{made_by} {noun}", made_by, noun)
    if draw < 0.76:
        return Product(brand(random))
    if draw < 0.88:
        return Product(f"{brand(random)} {model_name(random)}")
    return Product(random.choice([pseudo_word(random), random.choice(REAL)]))
