"""Open vocabulary of the corpus: nouns, verbs, adjectives, adverbs and names, in classes of the grammar.

Homophones (flour, flower) and words with several pronunciations (read, wind, close) are excluded, so that a spelling
has one pronunciation. The classes are broad, so that any adjective can occur with any noun. This makes sentences odd,
but the model learns words independently of their neighbors.
"""


def _forms(table: str) -> dict[str, tuple[str, ...]]:
    """Returns classes of verb forms (base, third person, past, -ing), named after the forms of the first verb."""
    columns = zip(*(line.split() for line in table.strip().splitlines()), strict=True)
    return {forms[0]: forms for forms in columns}


OPEN_WORDS = {
    # people and places by name
    "Emma": """
        Adam Alice Amy Andrew Angela Anna Arthur Ben Betty Carol Daniel David Diana Edward Elena Emily Emma
        Felix Frank George Grace Hannah Harry Helen Henry Jack Jacob James Jane Jason Julia Karen Kevin Laura
        Leo Linda Lucas Lucy Marcus Maria Martin Mary Michael Monica Nathan Nina Nora Oliver Olivia Oscar
        Patrick Paul Peter Rachel Rebecca Richard Robert Rose Ruby Samuel Sandra Sarah Simon Sophie Susan Thomas
        Tony Victor Victoria
    """,
    "London": """
        Africa America Berlin Boston Canada Chicago China Dublin Egypt England Florida France Germany India
        Italy Japan London Madrid Mexico Norway Paris Spain Texas Tokyo Toronto
    """,
    # persons
    "teacher": """
        actor artist baby baker barber boss boy brother captain cousin dancer daughter dentist detective
        doctor driver farmer father fisherman friend gardener girl grandfather grandmother guest hunter husband
        judge king lady lawyer man manager mayor mechanic mother musician neighbor nurse painter pilot player
        poet policeman president prince princess professor queen sailor secretary singer sister soldier student
        teacher tourist uncle visitor waiter waitress woman worker writer
    """,
    "children": """
        adults boys brothers children cousins drivers families farmers friends girls guests men neighbors
        parents people players sisters students teachers visitors women workers
    """,
    # animals
    "dog": """
        bear bird camel cat chicken cow crab dog dolphin donkey duck eagle elephant fox frog giraffe goat
        hamster horse kitten lion monkey mouse owl panda parrot penguin pig pony puppy rabbit shark sheep snake
        spider squirrel tiger turkey turtle whale wolf zebra
    """,
    "dogs": "ants bears birds butterflies cats chickens cows dogs ducks horses monkeys pigs rabbits wolves",
    # things
    "hammer": """
        alarm anchor ball balloon basket battery bell bicycle blanket book bottle bowl box brush bucket button
        camera candle card carpet chain chair clock coin computer cup curtain cushion form dictionary dish doll
        door drawer drum engine envelope fan fence flag flashlight fork gate gift guitar hammer helmet hook iron
        jar kettle key keyboard kite knife ladder lamp laptop leaf lemon letter machine magazine magnet map mask
        mattress mirror motor mug nail napkin necklace newspaper notebook oven package painting pan paper peanut
        pen pencil photo piano picture pillow pipe plant plate pocket pot printer purse puzzle radio ribbon ring
        rock ruler sandwich saw scooter screen shelf sofa spoon stamp statue stick stone suitcase sword table
        tablet telephone television tent ticket tool torch towel toy tractor truck umbrella violin wallet watch
        wheel whistle window wire
    """,
    "bottles": """
        apples bags balls bananas baskets beans bells bicycles blankets books bottles bowls boxes buttons cakes
        candles cards carrots chairs cherries cookies coins cups curtains doors eggs flags flowers forks glasses
        grapes keys knives lamps leaves lemons letters lights maps matches mirrors mushrooms nuts onions oranges
        papers peaches pencils photos pictures pies pillows plants plates potatoes puzzles roses sandwiches
        spoons stamps stones strawberries tables tickets tomatoes tools towels toys trees windows
    """,
    "jacket": """
        apron belt blouse coat costume dress hat jacket necktie raincoat robe scarf shirt skirt suit sweater
        uniform vest
    """,
    "shoes": "boots clothes gloves jeans mittens pajamas pants sandals shoes shorts slippers socks sunglasses",
    # substances and other nouns without an article
    "bread": """
        bacon beef bread butter cabbage cheese chocolate coffee corn cream fish fruit garlic ginger ham honey
        ice jam jelly juice ketchup lettuce milk oil pasta pepper pizza popcorn pork pudding pumpkin rice salad
        salmon salt sauce soup spinach sugar syrup tea toast vinegar water yogurt
    """,
    "music": """
        advice dust electricity fire furniture gas glass gold grass history homework information luck magic
        medicine money mud music news paint plastic rain sand science silver smoke snow soap time traffic wool
        work
    """,
    # places
    "kitchen": """
        airport balcony bank barn basement bathroom beach bedroom bridge building cabin cafe camp canyon castle
        cave church cinema city classroom corner cottage country factory farm field forest fountain garage
        garden gym hall harbor hill hospital hotel house island kitchen lake library market meadow mountain
        museum ocean office palace park pool prison restaurant river roof room school shop square station street
        synthesis supermarket temple theater tower town tunnel valley village zoo
    """,
    # parts of the body
    "hand": "arm back chin elbow face finger foot hand head knee leg neck nose shoulder stomach thumb tooth wrist",
    # abstract
    "idea": """
        accident adventure answer birthday concert dance dream game idea job journey joke lesson meeting movie
        party plan problem program question race secret song story surprise test vacation visit wedding
    """,
    # qualities: of things, and of persons and animals
    "old": """
        ancient beautiful big boring bright broken cheap clean clever colorful comfortable common crazy curious
        dangerous dark deep delicious different difficult dirty dry dull dusty easy elegant electric empty
        enormous excellent expensive famous fancy fast favorite flat foreign fragile free fresh friendly funny
        gentle giant golden good great handsome hard healthy heavy hollow honest huge important interesting
        large lazy light little local lonely long loud lovely lucky magical massive metal medium modern muddy
        narrow natural neat new nice noisy normal old ordinary pleasant polite poor popular powerful precious
        pretty private public quick quiet rare real rich ripe rotten rough round rude rusty safe serious shallow
        sharp shiny short silent silly simple slow small smart smooth soft special square steep sticky strange
        strong sweet tall terrible thick thin tiny transparent useful valuable warm weird wet wide wild wise
        wonderful wooden wrong young
    """,
    "friendly": """
        beautiful brave cheerful clever curious elegant famous foreign friendly funny gentle handsome healthy
        honest important kind lazy lonely lovely lucky modest nice noisy old polite poor popular powerful proud
        quiet rich rude serious shy silent silly smart special strange strong sweet tall tired wild wise
        wonderful young
    """,
    "red": "black blue brown gray green orange pink purple red silver white yellow",
    "happy": """
        afraid alone angry ashamed awake brave busy calm careful confused excited glad grateful happy hungry
        jealous late nervous patient proud ready sad scared shy sick sleepy sorry sure surprised thirsty tired
        upset worried
    """,
    "sunny": "cloudy cold cool dry foggy freezing hot humid icy rainy snowy stormy sunny warm windy",
    # manner
    "slowly": """
        bravely calmly carefully clearly easily gently gladly happily honestly kindly loudly nervously patiently
        perfectly politely proudly quickly quietly rudely sadly safely secretly seriously silently slowly softly
        suddenly wisely
    """,
    "usually": "always certainly definitely finally normally often probably rarely really sometimes surely usually",
    # verbs: with a thing
    **_forms("""
        carry    carries   carried   carrying
        borrow   borrows   borrowed  borrowing
        bring    brings    brought   bringing
        buy      buys      bought    buying
        choose   chooses   chose     choosing
        clean    cleans    cleaned   cleaning
        collect  collects  collected collecting
        draw     draws     drew      drawing
        drop     drops     dropped   dropping
        fill     fills     filled    filling
        find     finds     found     finding
        fix      fixes     fixed     fixing
        hide     hides     hid       hiding
        hold     holds     held      holding
        keep     keeps     kept      keeping
        lift     lifts     lifted    lifting
        lose     loses     lost      losing
        make     makes     made      making
        move     moves     moved     moving
        need     needs     needed    needing
        open     opens     opened    opening
        pack     packs     packed    packing
        push     pushes    pushed    pushing
        sell     sells     sold      selling
        share    shares    shared    sharing
        show     shows     showed    showing
        catch    catches   caught    catching
        like     likes     liked     liking
        love     loves     loved     loving
        take     takes     took      taking
        throw    throws    threw     throwing
        wash     washes    washed    washing
        watch    watches   watched   watching
    """),
    # with a person or an animal
    **_forms("""
        help     helps     helped    helping
        call     calls     called    calling
        follow   follows   followed  following
        forget   forgets   forgot    forgetting
        hear     hears     heard     hearing
        invite   invites   invited   inviting
        join     joins     joined    joining
        meet     meets     met       meeting
        remember remembers remembered remembering
        see      sees      saw       seeing
        teach    teaches   taught    teaching
        thank    thanks    thanked   thanking
        visit    visits    visited   visiting
    """),
    # to a place
    **_forms("""
        walk     walks     walked    walking
        climb    climbs    climbed   climbing
        come     comes     came      coming
        drive    drives    drove     driving
        fly      flies     flew      flying
        go       goes      went      going
        hurry    hurries   hurried   hurrying
        jump     jumps     jumped    jumping
        ride     rides     rode      riding
        run      runs      ran       running
        swim     swims     swam      swimming
        travel   travels   traveled  traveling
    """),
    # intransitive
    **_forms("""
        laugh    laughs    laughed   laughing
        cry      cries     cried     crying
        dance    dances    danced    dancing
        fall     falls     fell      falling
        listen   listens   listened  listening
        play     plays     played    playing
        shout    shouts    shouted   shouting
        sing     sings     sang      singing
        sit      sits      sat       sitting
        sleep    sleeps    slept     sleeping
        smile    smiles    smiled    smiling
        speak    speaks    spoke     speaking
        stand    stands    stood     standing
        stay     stays     stayed    staying
        talk     talks     talked    talking
        wait     waits     waited    waiting
        whisper  whispers  whispered whispering
    """),
    # with food
    **_forms("""
        cook     cooks     cooked    cooking
        bake     bakes     baked     baking
        prepare  prepares  prepared  preparing
        serve    serves    served    serving
        taste    tastes    tasted    tasting
    """),
}

LEXICON = {name: tuple(words.split()) if isinstance(words, str) else words for name, words in OPEN_WORDS.items()}
OPEN_VOCABULARY = frozenset(word.lower() for words in LEXICON.values() for word in words)

# exceptions: "a" before a vowel letter, and "an" before a consonant letter
WORDS_WITH_A = frozenset({"useful", "uniform", "usual", "one", "once", "euro"})
WORDS_WITH_AN = frozenset({"hour", "honest"})
