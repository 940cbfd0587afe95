"""Words of other languages for what people photograph: not to be taken for misspelt English ("gato" for "gate").

German, French, Spanish, Italian, Portuguese, Dutch, without accents; none that English has too ("chat", "table").
"""

_TEXT = """
    hund hunde hunden katze katzen auto autos haus haeuser baum baeume kind kinder kindern mann maenner frau frauen
    maedchen junge jungen strand meer berg berge pferd pferde vogel voegel blume blumen tisch stuhl boot boote himmel
    schnee sonne strasse leute fahrrad fahrraeder rot rote roter rotes blau gruen weiss schwarz schwarze schwarzer
    gross grosse klein kleine kleiner zwei drei fluss see wald brille kuchen hochzeit garten bruecke kirche stadt
    berge wasser zug flugzeug schiff kuh kuehe schaf ente fisch
    chien chiens chienne chats voiture voitures maison maisons arbre arbres enfant enfants homme hommes femme femmes
    fille filles garcon garcons plage mer montagne montagnes cheval chevaux oiseau oiseaux fleur fleurs chaise bateau
    bateaux ciel neige soleil rue velo velos rouge bleu verte vert blanc blanche noir noire petit petite deux trois
    gateau mariage jardin pont eglise ville eau avion lunettes foret
    perro perros perra gato gatos gata coche coches carro casa casas arbol arboles nino ninos nina ninas hombre hombres
    mujer mujeres chico chica playa montana montanas caballo caballos pajaro pajaros flor flores mesa silla barco
    cielo nieve calle gente bicicleta rojo roja azul verde blanco blanca negro negra grande pequeno dos tres pastel
    boda jardin puente iglesia ciudad agua avion gafas bosque
    cane cani gatto gatti macchina albero alberi bambino bambini bambina uomo uomini donna donne ragazza ragazzo
    spiaggia montagna cavallo cavalli uccello uccelli fiore fiori tavolo sedia barca neve strada bicicletta rosso rossa
    blu bianco bianca nero nera piccolo due torta matrimonio giardino ponte chiesa citta acqua aereo occhiali
    cachorro cachorros cao caes homem homens mulher mulheres crianca criancas menino menina praia montanha cavalo
    passaro cadeira ceu rua pessoas bolo casamento cidade oculos
    hond honden kat katten huis boom bomen vrouw vrouwen meisje jongen zee paard paarden bloem bloemen stoel lucht
    sneeuw zon straat mensen fiets fietsen rood groen wit zwart groot twee drie bruiloft tuin brug kerk stad
"""
# English has them too, or photographs do.
_ENGLISH_TEXT = """
    boom mesa auto autos pastel negro grande see due junge casa dos blanc verde flor
"""
FOREIGN_WORDS = frozenset(_TEXT.split()) - frozenset(_ENGLISH_TEXT.split())
