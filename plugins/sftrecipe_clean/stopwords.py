"""Function words of the languages that `language.py` tells apart, and the writing systems that it knows.

The lists are ours: short words of very high frequency, lower case. A word that several languages share counts for
each, but weighs less.
"""

# ruff: noqa: RUF001  (letters of other scripts are meant)

from __future__ import annotations

__all__ = ["SCRIPT_OF", "SCRIPT_RANGES", "STOP_WORDS"]

STOP_WORDS = {
    "en": (
        "the of and to in is that it for was on are with as be this have from or by which at an you not were but "
        "his they she her has had their we can will would what how if there a i he so no do me my all more than "
        "then him who about into out up one per some only your each because them its most also over such very "
        "just could should been other when where while after before war los am i'm"
    ),
    "de": (
        "der die und das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
        "hat dass sie nach wird bei einer um am sind noch wie einem über einen zum war haben nur oder wenn ich "
        "kann"
    ),
    "fr": (
        "le de la et les des en un une du que qui dans est pour par sur au pas plus avec ne ce se sont il elle ou "
        "aux mais nous vous comme cette ses été être leur très je c'est d'une qu'il"
    ),
    "es": (
        "de la que el en y los del se las por un para con una su al lo como más pero sus le ya o este sí porque "
        "esta entre cuando muy sin sobre también me hasta hay donde es son fue ser tiene"
    ),
    "it": (
        "di che e il la un a per in una sono mi ho ma lo ha le si con i non del della da come io questo al alla "
        "dei nel più gli anche è era delle ci se essere cosa nella perché"
    ),
    "pt": (
        "de que e o a do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à "
        "seu sua ou ser quando muito há nos já está eu também só pelo pela são você"
    ),
    "nl": (
        "de het een van en in is dat op te zijn met voor niet die aan er om ook als maar dan bij zo door naar "
        "wordt hij ze wat over deze uit kan nog wel worden heeft of tot je ik"
    ),
    "sv": (
        "och att det i en som på är av för med den till inte har om ett men var sig de så han från vi kan när år "
        "under också eller ska då skulle vid sin man mycket hon detta där"
    ),
    "pl": (
        "w i na z się nie do że to jest o jak po ale za od co tak przez dla czy przy być jego był są tego już "
        "tylko może jej które który ich aby lub bardzo oraz ma"
    ),
    "tr": (
        "ve bir bu için ile da de olarak çok daha olan ne gibi sonra kadar değil ama en her var ben o mi ise ya "
        "ancak veya şey onun tarafından hem göre diye nasıl çünkü"
    ),
    "vi": (
        "và của là có không được cho các một trong người những đã với để này khi đến từ ra cũng như về tôi bạn sẽ "
        "nó thì làm nhiều năm ở lại rất phải vào theo nếu"
    ),
    "id": (
        "yang dan di ini untuk dengan tidak dari dalam akan pada itu adalah ke juga oleh saya karena tersebut "
        "atau bisa ada dapat sebagai telah lebih anda mereka kita sudah seperti saat banyak harus"
    ),
    "ru": (
        "и в не на что с по как это он а из к у но за то все для от так же его или мы вы бы был еще при есть она "
        "они чтобы только когда уже если может"
    ),
    "uk": (
        "і в не на що з та як це він а до у але за то все для від так же його або ми ви би був ще при є вона вони "
        "щоб тільки коли вже якщо може із про"
    ),
    "bg": (
        "и в не на че с по как това той а от за но до си се са все ще като или ние вие би бил още при има тя те "
        "само когато вече ако може е да му беше който"
    ),
    "ar": (
        "في من على إلى أن هذا التي هذه الذي عن مع كان لا ما هو هي بين كل قد أو بعد عند كما ذلك لم ثم حيث تم خلال وقد"
    ),
    "fa": "و در به از که این را با است برای آن یک خود تا بر هم شود می ها شد او ما اما یا کرد باید اگر نیز هر",
    "ur": "کے کی میں ہے اور سے کا کو اس پر یہ کہ نے ہیں ایک کر بھی تھا جو نہیں وہ ہو لیے گیا تو ان ہوا",
}
"""Language (ISO 639-1) to its words."""

SCRIPT_OF = {
    "latin": ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "tr", "vi", "id"),
    "cyrillic": ("ru", "uk", "bg"),
    "arabic": ("ar", "fa", "ur"),
    "han": ("zh",),
    "kana": ("ja",),
    "hangul": ("ko",),
    "greek": ("el",),
    "hebrew": ("he",),
    "devanagari": ("hi",),
    "bengali": ("bn",),
    "tamil": ("ta",),
    "thai": ("th",),
}
"""Writing system to the languages told apart in it. Where there is one, the script decides."""

SCRIPT_RANGES = {
    "latin": (
        (0xAA, 0xAA),
        (0xBA, 0xBA),
        (0xC0, 0xD6),
        (0xD8, 0xF6),
        (0xF8, 0x24F),
        (0x1E00, 0x1EFF),
        (0xFF21, 0xFF3A),
        (0xFF41, 0xFF5A),
    ),
    "cyrillic": ((0x400, 0x52F),),
    "arabic": (
        (0x620, 0x64A),
        (0x66E, 0x6D3),
        (0x6D5, 0x6D5),
        (0x6FA, 0x6FF),
        (0x750, 0x77F),
        (0xFB50, 0xFDFF),
        (0xFE70, 0xFEFC),
    ),
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
    "kana": ((0x3041, 0x3096), (0x30A1, 0x30FA), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xAC00, 0xD7A3)),
    "greek": ((0x370, 0x373), (0x376, 0x377), (0x37B, 0x37D), (0x386, 0x386), (0x388, 0x3FF), (0x1F00, 0x1FFF)),
    "hebrew": ((0x5D0, 0x5EA),),
    "devanagari": ((0x900, 0x963), (0x970, 0x97F)),
    "bengali": ((0x980, 0x9E5), (0x9F0, 0x9F1)),
    "tamil": ((0xB80, 0xBE5),),
    "thai": ((0xE01, 0xE3A), (0xE40, 0xE4E)),
}
"""Writing system to inclusive code point ranges of its letters (ASCII letters are Latin)."""
