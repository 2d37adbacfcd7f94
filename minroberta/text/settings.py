"""Settings of a tokenizer: its class, its special tokens by role, and the tokens that were added to its vocabulary.

They are in `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`. The class may also be in
`config.json`. They are read here, checked, and combined as transformers 4.48.3 does for a fast tokenizer.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..checkpoints.files import read_json
from ..config import Config
from ..errors import TokenizerError
from . import plain

if TYPE_CHECKING:
    import tokenizers

SETTINGS, SPECIAL, ADDED, MODEL = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
)

MOST_ADDED = 10_000
"""Maximum number of added tokens, as many as symbols in a sentencepiece model."""

LONGEST_TOKEN = 1000
"""Maximum number of characters in an added token."""

MOST_BYTES, MOST_GROWN_BYTES = 500_000, 5_000_000
"""Maximum number of bytes of all added tokens, and of what the normalizer may make of them."""


def check_added(contents: Sequence[str], growth: int) -> None:
    """Raise ValueError if the library may need too much time to find added tokens in a text.

    growth: the number of characters that the normalizer makes of one.
    """
    if len(contents) > MOST_ADDED:
        raise ValueError(f"it has {len(contents)} added tokens; the limit is {MOST_ADDED}")
    longest = max(map(len, contents), default=0)
    if longest > LONGEST_TOKEN:
        raise ValueError(f"it has an added token of {longest} characters; the limit is {LONGEST_TOKEN}")
    if (total := sum(len(content.encode()) for content in contents)) > MOST_BYTES:
        raise ValueError(f"its added tokens have {total} bytes; the limit is {MOST_BYTES}")
    if growth * total > MOST_GROWN_BYTES:
        raise ValueError(
            f"its normalizer may make {growth * total} bytes of its added tokens; the limit is {MOST_GROWN_BYTES}"
        )


UNLIMITED = 1e9
"""Smallest `model_max_length` that means no limit; transformers writes 1e30."""

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The roles of special tokens, in the order in which transformers adds them to a vocabulary."""


class Token(NamedTuple):
    """An added token, with Hugging Face's field names. `normalized`: True if it is matched in the normalized text."""

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = True
    special: bool = False

    def of_library(self) -> "tokenizers.AddedToken":
        """The token as the tokenizers library takes it."""
        return plain.library().AddedToken(**self._asdict())


Named = str | Token
"""A special token as a file names it: by its content alone, or with its flags."""


def special(content: str) -> Token:
    """The special token that is meant if a file gives only its content."""
    return Token(content, normalized=False, special=True)


def content_of(named: Named) -> str:
    """The content of a special token."""
    return named if isinstance(named, str) else named.content


def _once(tokens: Iterable[Named]) -> list[Named]:
    """The tokens without later ones that have the same content."""
    found: dict[str, Named] = {}
    for token in tokens:
        found.setdefault(content_of(token), token)
    return list(found.values())


# --- classes --------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A tokenizer class: the tokens of its roles, other special tokens, and whether its pairs have token types."""

    roles: Mapping[str, Named]
    additional: tuple[str, ...] = ()
    types: bool = False


_MASK = Token("<mask>", lstrip=True, normalized=False, special=True)
_XLM_MASK = Token("<mask>", lstrip=True, special=True)
_ALBERT_MASK = Token("[MASK]", lstrip=True, normalized=False, special=True)
_OF_ROBERTA = dict(zip(ROLES, ("<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>"), strict=False))
_OF_BERT = dict(zip(ROLES[2:], ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"), strict=True))
_OF_ALBERT = {**_OF_BERT, "bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "<unk>", "pad_token": "<pad>"}

BERT = Kind(_OF_BERT, types=True)
ROBERTA = Kind({**_OF_ROBERTA, "mask_token": _MASK})
CAMEMBERT = Kind({**_OF_ROBERTA, "mask_token": _MASK}, ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"))
XLM_ROBERTA = Kind({**_OF_ROBERTA, "mask_token": _XLM_MASK})
ALBERT = Kind({**_OF_ALBERT, "mask_token": _ALBERT_MASK}, types=True)
T5 = Kind({"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})
PLAIN = Kind({}, types=True)

KINDS = {
    "RobertaTokenizer": ROBERTA,
    "BartTokenizer": ROBERTA,
    "LongformerTokenizer": ROBERTA,
    "BertTokenizer": BERT,
    "DistilBertTokenizer": BERT._replace(types=False),
    "ElectraTokenizer": BERT,
    "XLMRobertaTokenizer": XLM_ROBERTA,
    "CamembertTokenizer": CAMEMBERT,
    "AlbertTokenizer": ALBERT,
    "T5Tokenizer": T5,
    "PhobertTokenizer": ROBERTA._replace(types=True),
    "BertweetTokenizer": ROBERTA._replace(types=True),
}
"""The classes with defaults of their own, by Hugging Face's name without `Fast`."""

WORDPIECE = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
"""The classes whose fast tokenizer sets the normalizer by `do_lower_case`, and whose vocabulary is `vocab.txt`."""

BYTE_LEVEL = ("RobertaTokenizer", "BartTokenizer", "LongformerTokenizer")

ADVICE_ON_CLASS = (
    "which is not supported: if transformers has a fast tokenizer of this class, save it there, which writes a "
    "tokenizer.json; otherwise tokenize with transformers, and call the model with the ids"
)
"""Advice if a file names another class. Read as a supported class, its tokenizer might give other ids."""

BY_MODEL_TYPE = {
    "camembert": "CamembertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "xlm-roberta-xl": "XLMRobertaTokenizer",
}
"""The classes of the model types that do not have RobertaTokenizer."""


# --- settings -------------------------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """All settings of a tokenizer, checked. `read` reads them from a directory.

    name: the class, without `Fast`. is_named: True if a file names it. roles and additional: special tokens in the
    files. listed: added tokens by id. values: the fields of `tokenizer_config.json`. max_length: maximum number of
    tokens. lacking: the first of the ids given to tokens that occur in merges but not in the vocabulary; in a text they
    become the unknown token. files: the tokenizer's files, if a `tokenizer.json` cannot hold it. extra: special tokens
    in `extra_special_tokens`. trusted: True if a `tokenizer.json` is built whatever it costs.
    """

    name: str = "RobertaTokenizer"
    is_named: bool = False
    roles: Mapping[str, Named] = {}
    additional: tuple[Named, ...] | None = None
    listed: Mapping[int, Token] = {}
    values: Mapping[str, Any] = {}
    max_length: int | None = None
    lacking: int | None = None
    files: Mapping[str, bytes] = {}
    extra: tuple[Named, ...] = ()
    trusted: bool = False

    @property
    def kind(self) -> Kind:
        """The row of `KINDS`."""
        return KINDS.get(self.name, PLAIN)

    @property
    def types(self) -> bool:
        """True if `token_type_ids` are among the tokenizer's outputs."""
        names = self.values.get("model_input_names")
        return self.kind.types if names is None else "token_type_ids" in names

    @property
    def normalizes_tweets(self) -> bool:
        """True if texts are normalised as BERTweet's tweets are."""
        return self.name == "BertweetTokenizer" and self.flag("normalization", False)

    @property
    def cleans(self) -> bool:
        """True if spaces before punctuation are removed from a decoded text."""
        return self.flag("clean_up_tokenization_spaces", False)

    @property
    def contents(self) -> list[str]:
        """The tokens that the files add."""
        named = (*self.listed.values(), *self.roles.values(), *(self.additional or ()), *self.extra)
        return list({content_of(token): None for token in named})

    def flag(self, name: str, default: bool) -> bool:
        """A field that is true or false."""
        value = self.values.get(name)
        return default if value is None else value


FLAGS = (
    "add_prefix_space",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "keep_accents",
    "split_special_tokens",
    "trim_offsets",
    "legacy",
    "normalization",
    "clean_up_tokenization_spaces",
)


def read(directory: Path, config: Config) -> Settings:
    """Read the settings from the files that a directory has. Raises TokenizerError."""
    own, model = _object(directory, SETTINGS), _object(directory, MODEL)
    _check_values(own, directory / SETTINGS)
    name = _class_name(own, directory / SETTINGS) or _class_name(model, directory / MODEL)
    model_type = model.get("model_type")
    by_type = BY_MODEL_TYPE.get(model_type if isinstance(model_type, str) else config.model_type, "RobertaTokenizer")
    fields = own
    if "added_tokens_decoder" in own:
        listed = dict(_listed(own["added_tokens_decoder"], directory / SETTINGS))
        roles = {role: _known(named, listed) for role, named in _roles(own, directory / SETTINGS).items()}
    else:
        others = _object(directory, SPECIAL)
        fields = {**own, **others, "additional_special_tokens": _both(own, others, "additional_special_tokens")}
        roles = {**_roles(own, directory / SETTINGS), **_roles(others, directory / SPECIAL, True)}
        listed = {}
    additional = _additional(fields.get("additional_special_tokens"), directory / SETTINGS)
    extra = _extra(own.get("extra_special_tokens"), directory / SETTINGS)
    if "added_tokens_decoder" not in own:
        known = {content_of(token) for token in (*roles.values(), *(additional or ()))}
        listed = dict(_added(_object(directory, ADDED), known, directory / ADDED))
    most = own.get("model_max_length")
    limit = None if most is None or most >= UNLIMITED else int(most)
    kind = (name or by_type).removesuffix("Fast")
    result = Settings(kind, name is not None, roles, additional, listed, own, limit, extra=extra)
    try:
        check_added(result.contents, 1)
    except ValueError as error:
        raise TokenizerError(f"{directory} is not a valid tokenizer: {error}") from error
    return result


def _object(directory: Path, name: str) -> dict[str, Any]:
    return read_json(directory / name, TokenizerError) if (directory / name).is_file() else {}


def _class_name(fields: Mapping[str, Any], path: Path) -> str | None:
    name = fields.get("tokenizer_class")
    if not (name is None or (isinstance(name, str) and name)):
        raise TokenizerError(f"{path}: tokenizer_class must be the name of a class, not {name!r:.100}")
    return name


def _check_values(own: Mapping[str, Any], path: Path) -> None:
    """Raise TokenizerError if a field that is used has an invalid value."""
    for name in FLAGS:
        if not isinstance(own.get(name), bool | None):
            raise TokenizerError(f"{path}: {name} must be true or false, not {own[name]!r:.100}")
    for name in ("truncation_side", "padding_side"):
        if own.get(name, "right") not in ("left", "right"):
            raise TokenizerError(f'{path}: {name} must be "left" or "right", not {own[name]!r:.100}')
    most = own.get("model_max_length")
    is_number = isinstance(most, int | float) and not isinstance(most, bool) and most >= 1  # NaN is not
    if not (most is None or is_number):
        raise TokenizerError(f"{path}: model_max_length must be a number of at least 1, not {most!r:.100}")
    extra = own.get("extra_ids", 100)
    if type(extra) is not int or not 0 <= extra <= MOST_ADDED:
        raise TokenizerError(f"{path}: extra_ids must be an integer from 0 to {MOST_ADDED}, not {extra!r:.100}")
    names = own.get("model_input_names")
    if not (names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))):
        raise TokenizerError(f"{path}: model_input_names must be a list of names, not {names!r:.100}")
    if own.get("sp_model_kwargs"):
        warnings.warn(
            f"{path}: sp_model_kwargs are ignored: options of sentencepiece are not supported",
            stacklevel=2,
        )


def _roles(fields: Mapping[str, Any], path: Path, is_special: bool = False) -> dict[str, Named]:
    return {role: _token(fields[role], role, path, is_special) for role in ROLES if fields.get(role) is not None}


def _known(named: Named, listed: Mapping[int, Token]) -> Named:
    """The listed token with the same content, which has the valid flags; or else the named token itself."""
    same = [token for token in listed.values() if token.content == content_of(named)]
    return same[-1] if same else named


def _both(own: Mapping[str, Any], others: Mapping[str, Any], name: str) -> Any:
    lists = [fields[name] for fields in (own, others) if fields.get(name) is not None]
    if not all(isinstance(some, list) for some in lists):
        return lists[-1]
    return [token for some in lists for token in some] if lists else None


def _additional(values: Any, path: Path) -> tuple[Named, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list):
        raise TokenizerError(f"{path}: additional_special_tokens must be a list of tokens, not {values!r:.100}")
    tokens = [_token(value, "additional_special_tokens", path, True) for value in values]
    return tuple({content_of(token): token for token in tokens}.values())  # the flags of the last one hold


def _extra(values: Any, path: Path) -> tuple[Named, ...]:
    """The tokens of `extra_special_tokens`: a dict from names of roles to tokens, or a list in later versions."""
    if not isinstance(values, dict | list | None):
        raise TokenizerError(f"{path}: extra_special_tokens must be a dict or a list of tokens, not {values!r:.100}")
    tokens = values.values() if isinstance(values, dict) else values or ()
    return tuple(_token(value, "extra_special_tokens", path, True) for value in tokens)


def _listed(values: Any, path: Path) -> Iterator[tuple[int, Token]]:
    """The tokens of `added_tokens_decoder`, by id."""
    if not isinstance(values, dict) or not all(key.isdecimal() and len(key) < 10 for key in values):
        raise TokenizerError(f"{path}: added_tokens_decoder must map ids to tokens, not {values!r:.100}")
    for key, value in values.items():
        token = _token(value, "added_tokens_decoder", path)
        if isinstance(token, str):
            raise TokenizerError(f"{path}: added_tokens_decoder must hold objects, not {token!r:.100}")
        yield int(key), token


def _added(values: Mapping[str, Any], known: set[str], path: Path) -> Iterator[tuple[int, Token]]:
    """The tokens of `added_tokens.json`, by id. known: the contents of the special tokens."""
    for content, index in values.items():
        if type(index) is not int or index < 0:
            raise TokenizerError(f"{path} must map tokens to ids, but {content[:100]!r} has {index!r:.100}")
        _check_content(content, path.name, path)
        yield index, Token(content, normalized=content not in known, special=content in known)


def _token(value: Any, name: str, path: Path, is_special: bool = False) -> Named:
    """A token that is given as a str, or as an object with a `content`."""
    if isinstance(value, str):
        _check_content(value, name, path)
        return value
    flags = {**value, "special": is_special or value.get("special", False)} if isinstance(value, dict) else {}
    _check_content(flags.get("content"), name, path)
    flags.setdefault("normalized", not flags["special"])
    given = {field: flags[field] for field in Token._fields if field in flags}
    for field in Token._fields[1:]:
        if not isinstance(given.get(field, False), bool):
            raise TokenizerError(
                f"{path}: {field} of a token in {name} must be true or false, not {given[field]!r:.100}"
            )
    return Token(**given)


def _check_content(content: Any, name: str, path: Path) -> None:
    if not isinstance(content, str) or not 0 < len(content) <= LONGEST_TOKEN:
        raise TokenizerError(
            f"{path}: a token in {name} must be a text of 1 to {LONGEST_TOKEN} characters, or an object with such a "
            f"text as its content, not {content!r:.100}"
        )


# --- in a vocabulary ------------------------------------------------------------------------------------------------


def with_tokens_of(library: "tokenizers.Tokenizer", settings: Settings) -> Settings:
    """The settings, with the added tokens of a `tokenizer.json`, unless `tokenizer_config.json` lists added tokens.

    A special token gets the flags of the added token with the same content. A mask token that has no such token, and is
    named by its content alone, gets the flags of the class's mask token.
    """
    listed, roles = settings.listed, dict(settings.roles)
    if "added_tokens_decoder" not in settings.values:
        own = {index: _of_added(token) for index, token in library.get_added_tokens_decoder().items()}
        listed, roles = {**listed, **own}, {role: _known(named, own) for role, named in roles.items()}
    mask, default = roles.get("mask_token"), settings.kind.roles.get("mask_token")
    if isinstance(mask, str) and isinstance(default, Token):
        roles["mask_token"] = default._replace(content=mask)
    return settings._replace(roles=roles, listed=listed)


def _of_added(token: Any) -> Token:
    return Token(*(getattr(token, field) for field in Token._fields))


def add_tokens(library: "tokenizers.Tokenizer", settings: Settings) -> None:
    """Add the tokens that the settings list, and then the special tokens, to a vocabulary.

    A token of the vocabulary keeps its id. Others get the next free ids, in the order of the listed ids. A default of
    the class that the vocabulary lacks is not added. Raises TokenizerError if a listed token gets another id.
    """
    known = {content_of(token) for token in _special_tokens(library, settings)}
    own = library.get_added_tokens_decoder()
    listed = [
        token for index, token in sorted(settings.listed.items()) if index not in own or _of_added(own[index]) != token
    ]
    library.add_tokens(
        [token._replace(special=token.special or token.content in known).of_library() for token in listed]
    )
    contents = {token.content for token in library.get_added_tokens_decoder().values()}
    library.add_tokens(
        [
            (special(named) if isinstance(named, str) else named._replace(special=True)).of_library()
            for named in _special_tokens(library, settings)
            if not (isinstance(named, str) and named in contents)
        ]
    )


def with_named_tokens(ids: Mapping[str, int], settings: Settings) -> dict[str, int]:
    """The vocabulary with the tokens that the files list or name, as `add_tokens` adds them."""
    listed = (token for _, token in sorted(settings.listed.items()))
    roles = (settings.roles[role] for role in ROLES if role in settings.roles)
    result = dict(ids)
    for token in (*listed, *roles, *(settings.additional or ())):
        result.setdefault(content_of(token), len(result))
    return result


def _special_tokens(library: "tokenizers.Tokenizer", settings: Settings) -> list[Named]:
    """Special tokens, in the order in which they are added: those of the roles, then the additional ones."""

    def has(named: Named) -> bool:
        return library.token_to_id(content_of(named)) is not None

    defaults = {role: named for role, named in settings.kind.roles.items() if has(named)}
    roles = {**defaults, **settings.roles}
    more: Iterable[Named] = (
        filter(has, settings.kind.additional) if settings.additional is None else settings.additional
    )
    tokens = [*(roles[role] for role in ROLES if role in roles), *more, *settings.extra]
    return _once(tokens)


def warn_of_ids(library: "tokenizers.Tokenizer", settings: Settings) -> None:
    """Warn if the ids of added tokens differ from those in the files."""
    ids = [(index, token.content, library.token_to_id(token.content)) for index, token in settings.listed.items()]
    wrong = [(content, index, found) for index, content, found in ids if found != index]
    if wrong:
        content, index, found = wrong[0]
        warnings.warn(
            f"{len(wrong)} of the tokenizer's added tokens do not have the id that its files list, such as "
            f"{content[:100]!r}, listed as {index}: its id is {found}, as in transformers' fast tokenizer",
            stacklevel=2,
        )


def roles_of(library: "tokenizers.Tokenizer", settings: Settings) -> dict[str, str]:
    """The special token of each role that the vocabulary has.

    A token that a file names comes first, then the default of the class, then RoBERTa's and BERT's.
    """
    result = {}
    for role in ROLES:
        choices = [table.get(role) for table in (settings.roles, settings.kind.roles, ROBERTA.roles, BERT.roles)]
        known = [content_of(named) for named in choices if named and library.token_to_id(content_of(named)) is not None]
        if known:
            result[role] = known[0]
    return result
