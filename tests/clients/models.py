# SPDX-License-Identifier: MIT
"""models.py - the models, adapters and sounds that the clients' cases name with @NAME

Nothing is downloaded. Each is made when a case first wants it, below build/models/clients, and kept until
one of the files that made it changes. All weights are random, and the same at every place and time.

  base, draft, moe...   vgr-mkmodel's llama, and what llama.cpp's own tools make of it
  arch-NAME             an architecture that test-llama-archs can save, with a vocabulary added
  bert, t5, rwkv7...    metadata below; list_tensors asks llama.cpp which tensors such a model has
  lora, control, eyes   adapters and a projector of images
  whisper-..., sound    speech.py
"""
import array
import fcntl
import glob
import hashlib
import os
import re
import shutil
import string
import struct
import subprocess
import tempfile

import gguf
import speech
from gguf import F32, I32, TENSOR_F16, TENSOR_F32, Tensor, weight

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.realpath(os.path.join(HERE, "..", ".."))
BUILD = os.environ.get("VGR_BUILD", os.path.join(TOP, "build/obj"))
FOLDER = os.path.join(TOP, "build/models/clients")
# Of llama.cpp's token types, as in tools/vgr-mkmodel.c.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

WORDS = """the a of and to in is it you that he was for on are with as his they be at one have this from or had
by hot but some what there we can out other were all your when up use word how said an each she which do their
time if will way about many then them would write like so these her long make thing see him two has look more
day could go come did my sound no most number who over know water than call first people may down side been
now find any new work part take get place made live where after back little only round man year came show
every good me give our under name very through just form much great think say help low line before turn cause
same mean differ move right boy old too does tell once upon""".split()
CHATML = ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
          "{% if add_generation_prompt %}<|assistant|>{% endif %}")


def spm_vocabulary(n):
    """A vocabulary of n tokens as llama's. One of less than 512 has no bytes: what it does not know is <unk>."""
    tokens, kinds = ["<unk>", "<s>", "</s>"], [UNKNOWN, CONTROL, CONTROL]
    if n >= 512:
        tokens += [f"<0x{b:02X}>" for b in range(256)]
        kinds += [BYTE] * 256
    pieces = ["\u2581", *string.ascii_lowercase, *string.digits, *string.punctuation, "\n"]
    pieces += ["\u2581" + w for w in WORDS]
    pieces += [c + v for c in "bcdfghjklmnpqrstvwxyz" for v in "aeiou"]
    pieces += [f"\u2581{a}{b}" for a in "bcdfghjklmnprstvwz" for b in ("al", "en", "ir", "os", "un", "ay", "ee")]
    pieces = list(dict.fromkeys(pieces))
    pieces += [f"\u2581w{i}" for i in range(n)]
    pieces = pieces[:n - len(tokens)]
    kinds += [NORMAL] * len(pieces)
    tokens += pieces
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": (gguf.ARRAY, (F32, [-float(i) for i in range(n)])),
        "tokenizer.ggml.token_type": (gguf.ARRAY, (I32, kinds)),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.mask_token_id": n - 1,
        "tokenizer.chat_template": CHATML,
    }


def wpm_vocabulary(n):
    """A vocabulary of n tokens as BERT's: words begin with U+2581, other letters continue one."""
    letters = list(string.ascii_lowercase)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += ["\u2581" + w for w in dict.fromkeys(letters + WORDS + [".", ",", "?", "!"])] + letters
    tokens = (tokens + [f"\u2581w{i}" for i in range(n)])[:n]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": (gguf.ARRAY, (I32, [CONTROL] * 5 + [NORMAL] * (n - 5))),
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.mask_token_id": 4,
        "tokenizer.ggml.token_type_count": 2,
    }


def run(*command, **options):
    """Runs a program natively, without a GPU. Raises if it fails."""
    env = {**os.environ, "VK_DRIVER_FILES": "/dev/null", "CUDA_VISIBLE_DEVICES": ""}
    env.pop("GGML_VK_VISIBLE_DEVICES", None)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def llama(path, **shape):
    options = [word for key, value in shape.items() for word in ("--" + key.replace("_", "-"), str(value))]
    run(os.path.join(BUILD, "tools/vgr-mkmodel"), *options, "-o", path)


# Of weights whose size makes a difference: a classifier that does not see what it reads shows nothing.
EXPONENTS = {"token_embd.weight": -1, "cls.weight": -2, "cls.output.weight": 7}


def from_metadata(path, arch, vocabulary, parameters, seed=""):
    """A model of an architecture, of the tensors that llama.cpp asks for."""
    metadata = {"general.architecture": arch, "general.name": arch + " of random weights"}
    metadata |= {key if "." in key and key.split(".")[0] in ("general", "tokenizer", arch)
                 else f"{arch}.{key}": value for key, value in parameters.items()}
    metadata |= vocabulary
    with tempfile.NamedTemporaryFile(suffix=".gguf") as plain:
        gguf.write(plain.name, metadata, [])
        lines = run(os.path.join(BUILD, "tests/clients/list_tensors"), plain.name).splitlines()
    tensors = {}
    for line in lines:
        name, *shape = line.split()
        shape = [int(n) for n in shape]
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        tensors[name] = weight(name, shape, seed or arch, exponent=EXPONENTS.get(name))
    gguf.write(path, metadata, list(tensors.values()))


def from_archs_test(path, name):
    """What llama.cpp's own test saves of an architecture, with words for its tokens. NAME may end in -moe."""
    moe = name.endswith("-moe")
    arch = name.removesuffix("-moe")
    program, = glob.glob("/usr/libexec/*/llama.cpp-tests/test-llama-archs")
    with tempfile.TemporaryDirectory() as folder:
        run(program, "-s", "20", "-a", f"^{re.escape(arch)}$", "-o", folder)
        saved = os.path.join(folder, f"{arch}-{'moe' if moe else 'dense'}.gguf")
        if not os.path.exists(saved):
            saved, = glob.glob(os.path.join(folder, "*.gguf"))
        metadata, tensors = gguf.read(saved)
    n = next(value for key, (_, value) in metadata.items() if key.endswith(".vocab_size"))
    metadata = {key: value for key, value in metadata.items() if not key.startswith("tokenizer.")}
    gguf.write(path, metadata | spm_vocabulary(n), tensors)


BASE = {"layers": 4, "embd": 256, "ff": 512, "heads": 4, "heads_kv": 2, "vocab": 1024, "ctx": 2048}
QUANTIZED = ("q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k_m q4_k_m q5_k_m q6_k iq4_nl iq4_xs iq3_s bf16 tq2_0 "
             "mxfp4_moe").split()

ENCODER = {"context_length": 512, "embedding_length": 128, "feed_forward_length": 256, "block_count": 2,
           "attention.head_count": 4, "attention.causal": False}


def bert_like(arch, more=None, vocabulary=None, **keys):
    parameters = ENCODER | {"attention.layer_norm_epsilon": 1e-5, "pooling_type": 1} | (more or {}) | keys
    return lambda path: from_metadata(path, arch, vocabulary or wpm_vocabulary(512), parameters)


RWKV = {"context_length": 512, "embedding_length": 128, "block_count": 2, "wkv.head_size": 64,
        "attention.layer_norm_epsilon": 1e-5, "rescale_every_n_layers": 6, "time_mix_extra_dim": 32,
        "time_decay_extra_dim": 32, "attention.head_count": 0, "token_shift_count": 2}

HAND_MADE = {
    "bert": bert_like("bert"),
    "bert-rank": bert_like("bert", {"pooling_type": 4, "bert.classifier.output_labels": ["relevance"]}),
    "nomic-bert": bert_like("nomic-bert", {"rope.freq_base": 1000.0}),
    "jina-bert-v2": bert_like("jina-bert-v2"),
    "modern-bert": bert_like("modern-bert", {"attention.sliding_window": 64, "rope.freq_base": 1000.0,
                                             "rope.freq_base_swa": 1000.0}),
    "neo-bert": bert_like("neo-bert", {"attention.layer_norm_rms_epsilon": 1e-5}),
    "t5encoder": lambda path: from_metadata(path, "t5encoder", spm_vocabulary(512), {
        "context_length": 512, "embedding_length": 128, "feed_forward_length": 256, "block_count": 2,
        "attention.head_count": 4, "attention.key_length": 32, "attention.value_length": 32,
        "attention.relative_buckets_count": 32, "attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.add_eos_token": True}),
    "t5": lambda path: from_metadata(path, "t5", spm_vocabulary(512), {
        "context_length": 512, "embedding_length": 128, "feed_forward_length": 256, "block_count": 2,
        "attention.head_count": 4, "attention.key_length": 32, "attention.value_length": 32,
        "attention.relative_buckets_count": 32, "attention.layer_norm_rms_epsilon": 1e-5,
        "decoder_start_token_id": 0, "tokenizer.ggml.add_eos_token": True}),
    "rwkv6": lambda path: from_metadata(path, "rwkv6", spm_vocabulary(512), RWKV | {
        "feed_forward_length": 448}),
    "rwkv7": lambda path: from_metadata(path, "rwkv7", spm_vocabulary(512), RWKV | {
        "feed_forward_length": 512, "attention.decay_lora_rank": 32, "attention.iclr_lora_rank": 32,
        "attention.value_residual_mix_lora_rank": 32, "attention.gate_lora_rank": 64}),
    "llama-embed": lambda path: from_metadata(path, "llama-embed", spm_vocabulary(512), {
        "context_length": 512, "embedding_length": 128, "feed_forward_length": 256, "block_count": 2,
        "attention.head_count": 4, "attention.head_count_kv": 2, "rope.dimension_count": 32,
        "attention.layer_norm_rms_epsilon": 1e-5, "pooling_type": 1}),
    "gemma-embedding": lambda path: from_metadata(path, "gemma-embedding", spm_vocabulary(512), {
        "context_length": 512, "embedding_length": 128, "feed_forward_length": 256, "block_count": 6,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 32,
        "attention.value_length": 32, "attention.sliding_window": 128, "pooling_type": 1,
        "attention.layer_norm_rms_epsilon": 1e-5}),
    "gemma3n": lambda path: from_metadata(path, "gemma3n", spm_vocabulary(512), {
        "context_length": 512, "embedding_length": 64, "feed_forward_length": 96, "block_count": 22,
        "attention.head_count": 1, "attention.head_count_kv": 1, "attention.sliding_window": 64,
        "attention.layer_norm_rms_epsilon": 1e-5, "embedding_length_per_layer_input": 32,
        "attention.sliding_window_pattern": 5, "attention.shared_kv_layers": 2}),
}


def scaled(path, source, factor):
    """A model of F32 with other logits: large ones leave each token one successor."""
    metadata, tensors = gguf.read(ensure(source))
    for i, t in enumerate(tensors):
        if t.name == "output.weight":
            numbers = array.array("f", t.data)
            tensors[i] = t._replace(data=array.array("f", (factor * n for n in numbers)).tobytes())
    gguf.write(path, metadata, tensors)


def large(path):
    """A llama of one layer whose embeddings, which are its output matrix, too, have more than 2 GiB: rows of
    random numbers at the begin, in the middle and at the end, and zeros between them."""
    embd, n_vocab, rows = 4096, 264 * 1024, 256
    ff, heads = 512, 32
    some = [gguf.random_floats(f"large/{i}", rows * embd, -7, TENSOR_F16) for i in range(3)]
    gap = (n_vocab - 3 * rows) // 2 * embd * 2
    tensors = [Tensor("token_embd.weight", [embd, n_vocab], TENSOR_F16, [some[0], gap, some[1], gap, some[2]]),
               weight("output_norm.weight", [embd])]
    tensors += [weight("blk.0." + name, shape, "large", TENSOR_F16) for name, shape in (
        ("attn_q.weight", [embd, embd]), ("attn_k.weight", [embd, embd // 8]), ("attn_v.weight", [embd, embd // 8]),
        ("attn_output.weight", [embd, embd]), ("ffn_gate.weight", [embd, ff]), ("ffn_up.weight", [embd, ff]),
        ("ffn_down.weight", [ff, embd]), ("attn_norm.weight", [embd]), ("ffn_norm.weight", [embd]))]
    gguf.write(path, {"general.architecture": "llama", "llama.context_length": 512, "llama.embedding_length": embd,
                      "llama.feed_forward_length": ff, "llama.block_count": 1, "llama.attention.head_count": heads,
                      "llama.attention.head_count_kv": heads // 8, "llama.rope.dimension_count": embd // heads,
                      "llama.attention.layer_norm_rms_epsilon": 1e-5} | spm_vocabulary(n_vocab), tensors)


def lora(path, rank=8):
    """A low-rank adapter of base's attention and feed-forward matrices."""
    embd, ff, kv = BASE["embd"], BASE["ff"], BASE["embd"] // 2
    tensors = []
    for layer in range(BASE["layers"]):
        for part, n_in, n_out in (("attn_q", embd, embd), ("attn_v", embd, kv), ("ffn_down", ff, embd)):
            name = f"blk.{layer}.{part}.weight"
            tensors += [weight(name + ".lora_a", [n_in, rank], path[-9:], exponent=-4),
                        weight(name + ".lora_b", [rank, n_out], path[-9:], exponent=-2)]
    gguf.write(path, {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora",
                      "adapter.lora.alpha": float(2 * rank)}, tensors)


def control(path):
    """A control vector for base: a direction for each layer but the first."""
    gguf.write(path, {"general.architecture": "controlvector", "controlvector.model_hint": "llama",
                      "controlvector.layer_count": BASE["layers"] - 1},
               [weight(f"direction.{i}", [BASE["embd"]], exponent=-3) for i in range(1, BASE["layers"])])


def eyes(path):
    """A projector of images into base's embeddings: a small vision transformer as LLaVA has it."""
    size, patch, width, layers, ff = 56, 14, 64, 2, 128
    n = (size // patch) ** 2
    tensors = [weight("v.patch_embd.weight", [patch, patch, 3, width]), weight("v.class_embd", [width]),
               weight("v.position_embd.weight", [width, n + 1], exponent=-4)]
    for name in ("v.pre_ln", "v.post_ln"):
        tensors += [weight(name + ".weight", [width]), weight(name + ".bias", [width])]
    for i in range(layers):
        at = f"v.blk.{i}."
        for name in ("ln1", "ln2"):
            tensors += [weight(f"{at}{name}.weight", [width]), weight(f"{at}{name}.bias", [width])]
        for name, n_in, n_out in (("attn_q", width, width), ("attn_k", width, width),
                                  ("attn_v", width, width), ("attn_out", width, width),
                                  ("ffn_up", width, ff), ("ffn_down", ff, width)):
            tensors += [weight(f"{at}{name}.weight", [n_in, n_out]), weight(f"{at}{name}.bias", [n_out])]
    for name, n_in, n_out in (("mm.0", width, 256), ("mm.2", 256, 256)):
        tensors += [weight(name + ".weight", [n_in, n_out]), weight(name + ".bias", [n_out])]
    gguf.write(path, {
        "general.architecture": "clip", "general.type": "mmproj", "general.name": "random eyes",
        "clip.has_vision_encoder": True, "clip.projector_type": "mlp", "clip.use_gelu": True,
        "clip.vision.image_size": size, "clip.vision.patch_size": patch,
        "clip.vision.embedding_length": width, "clip.vision.feed_forward_length": ff,
        "clip.vision.projection_dim": 256, "clip.vision.block_count": layers,
        "clip.vision.attention.head_count": 4, "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5, 0.5, 0.5], "clip.vision.image_std": [0.5, 0.5, 0.5],
    }, tensors)


def picture(path):
    """A BMP of 64 by 48 colours."""
    width, height = 64, 48
    rows = b"".join(bytes(v for x in range(width) for v in (4 * x, 5 * y, (x * y) & 255))
                    for y in range(height))
    with open(path, "wb") as file:
        file.write(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54)
                   + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 2835, 2835, 0, 0)
                   + rows)


def prose(path, n_words=3000):
    """Pages of words, of which base knows most."""
    n, text = 1, []
    for i in range(n_words):
        n = (n * 1103515245 + 12345) % 2**31
        text.append(WORDS[(n >> 16) % len(WORDS)] + (".\n" if i % 17 == 16 else ""))
    with open(path, "w", encoding="ascii") as file:
        file.write(" ".join(text))


def quantized(source, kind):
    return lambda path: run("llama-quantize", ensure(source), path, kind, "2")


def whisper_quantized(program, source, kind):
    return lambda path: run(program, ensure(source), path, kind)


# NAME: (extension, what makes the file)
RECIPES = {
    "base": ("gguf", lambda path: llama(path, type="f16", **BASE)),
    "base-f32": ("gguf", lambda path: llama(path, type="f32", **BASE)),
    "words-32000": ("gguf", lambda path: llama(path, type="f32", **(BASE | {"layers": 1, "vocab": 32000}))),
    "draft": ("gguf", lambda path: llama(path, type="f16", seed=2, **(BASE | {"layers": 1}))),
    "wide": ("gguf", lambda path: llama(path, type="q8_0", layers=2, embd=1024, ff=2048, heads=8, heads_kv=8,
                                        vocab=2048, ctx=1024)),
    "sharp": ("gguf", lambda path: scaled(path, "base-f32", 1024)),
    "large": ("gguf", large),
    "lora": ("gguf", lora),
    "lora-2": ("gguf", lora),
    "control": ("gguf", control),
    "eyes": ("gguf", eyes),
    "picture": ("bmp", picture),
    "prose": ("txt", prose),
    "page": ("txt", lambda path: prose(path, 100)),
    "sound": ("wav", speech.write_sound),
    "long-sound": ("wav", lambda path: speech.write_sound(path, 35)),
    "whisper": ("bin", speech.write_whisper),
    "whisper-f32": ("bin", lambda path: speech.write_whisper(path, TENSOR_F32)),
    "whisper-en": ("bin", lambda path: speech.write_whisper(path, multilingual=False)),
    "whisper-448": ("bin", lambda path: speech.write_whisper(path, text_ctx=448)),
    "whisper-128": ("bin", lambda path: speech.write_whisper(path, state=192, n_mels=128)),
    "parakeet": ("bin", speech.write_parakeet),
    "vad": ("bin", speech.write_vad),
    "parakeet-f16": ("bin", lambda path: speech.write_parakeet(path, TENSOR_F16)),
}
RECIPES |= {f"base-{kind}": ("gguf", quantized("base-f32", kind)) for kind in QUANTIZED}
RECIPES |= {f"whisper-{kind}": ("bin", whisper_quantized("whisper-quantize", "whisper", kind))
            for kind in ("q4_0", "q5_0", "q5_1", "q8_0")}
RECIPES |= {f"parakeet-{kind}": ("bin", whisper_quantized("parakeet-quantize", "parakeet", kind))
            for kind in ("q4_0", "q8_0")}
RECIPES |= {name: ("gguf", make) for name, make in HAND_MADE.items()}


def recipe(name):
    if name.startswith("arch-"):
        return "gguf", lambda path: from_archs_test(path, name.removeprefix("arch-"))
    return RECIPES[name]


def sources():
    """A hash of all that decides what a file is."""
    files = [os.path.join(HERE, name) for name in ("gguf.py", "models.py", "speech.py", "list_tensors.c")]
    files.append(os.path.join(TOP, "tools/vgr-mkmodel.c"))
    state = hashlib.sha256()
    for name in files:
        with open(name, "rb") as file:
            state.update(file.read())
    return state.hexdigest()[:16]


def ensure(name):
    """The path of a file, made if it is not there."""
    extension, make = recipe(name)
    path = os.path.join(FOLDER, f"{name}.{extension}")
    if not os.path.exists(path):
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            make(temporary)
            os.rename(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
    return path


def prepare():
    """To be called once, before ensure(): throws away what other sources have made. Returns a lock, which
    ends with the process."""
    os.makedirs(FOLDER, exist_ok=True)
    lock = open(FOLDER + ".lock", "w", encoding="ascii")
    fcntl.flock(lock, fcntl.LOCK_EX)
    stamp = os.path.join(FOLDER, "sources")
    mine = sources()
    if not os.path.exists(stamp) or open(stamp, encoding="ascii").read() != mine:
        shutil.rmtree(FOLDER)
        os.makedirs(FOLDER)
        with open(stamp, "w", encoding="ascii") as file:
            file.write(mine)
    return lock
