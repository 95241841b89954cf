# SPDX-License-Identifier: MIT
"""speech.py - models and sounds for whisper.cpp: random weights in the formats of its own

whisper.cpp does not read GGUF. Its files are a magic number, parameters, a mel filter bank, a
vocabulary, and tensors, each with a head of its own. write_whisper(), write_parakeet() and write_vad() write
the smallest that the programs accept; write_sound() makes a WAV file of some seconds that is not silent.
"""
import math
import random
import struct

from gguf import TENSOR_F16, TENSOR_F32, random_floats

MAGIC = 0x67676D6C


def ints(*values):
    return struct.pack(f"<{len(values)}i", *values)


def tensor(name, shape, kind=TENSOR_F32, exponent=-4, data=None):
    """A tensor of a file, head and content. shape: as GGML counts."""
    n = math.prod(shape)
    content = data or random_floats(name, n, exponent, kind)
    text = name.encode()
    return ints(len(shape), len(text), kind, *shape) + text + content


def ones(n):
    return struct.pack("<f", 1.0) * n


def mel_filters(n_mels, n_freqs):
    """Overlapping triangles, a band each."""
    rows = []
    for m in range(n_mels):
        mid = (m + 1) * n_freqs / (n_mels + 1)
        rows += [max(0.0, 1 - abs(f - mid) * n_mels / n_freqs) / 10 for f in range(n_freqs)]
    return struct.pack(f"<{len(rows)}f", *rows)


def vocabulary(words):
    return ints(len(words)) + b"".join(ints(len(word)) + word for word in words)


def norm(name, n):
    return tensor(f"{name}.weight", [n], data=ones(n)) + tensor(f"{name}.bias", [n], exponent=-6)


def linear(name, n_in, n_out, kind, bias=True):
    exponent = -2 - n_in.bit_length() // 2
    out = tensor(f"{name}.weight", [n_in, n_out], kind, exponent)
    return out + tensor(f"{name}.bias", [n_out], exponent=-6) if bias else out


def attention(name, n, kind):
    return (linear(f"{name}.query", n, n, kind) + linear(f"{name}.key", n, n, kind, bias=False)
            + linear(f"{name}.value", n, n, kind) + linear(f"{name}.out", n, n, kind))


def write_whisper(path, kind=TENSOR_F16, state=64, layers=2, multilingual=True, n_mels=80, text_ctx=64):
    """A Whisper model, which says up to half of text_ctx tokens. Its vocabulary must have the size of the real
    one, by which the program tells whether it knows several languages."""
    n_vocab = 51865 if multilingual else 51864
    heads, audio_ctx = max(state // 64, 1) * 2, 1500
    out = [struct.pack("<I", MAGIC),
           ints(n_vocab, audio_ctx, state, heads, layers, text_ctx, state, heads, layers, n_mels,
                1 if kind == TENSOR_F16 else 0),
           ints(n_mels, 201), mel_filters(n_mels, 201)]
    # Of the vocabulary, the words; the program itself adds what is beyond, and names it.
    words = [bytes([b]) for b in range(32, 127)]
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    n = 0
    while len(words) < (50257 if multilingual else 50256):
        word, rest = " " if n % 2 else "", n
        while rest >= 0:
            word += syllables[rest % len(syllables)]
            rest = rest // len(syllables) - 1
        words.append(word.encode())
        n += 1
    out.append(vocabulary(words))

    conv = TENSOR_F16 if kind == TENSOR_F16 else TENSOR_F32
    out += [tensor("encoder.positional_embedding", [state, audio_ctx], exponent=-3),
            tensor("encoder.conv1.weight", [3, n_mels, state], conv, -5),
            tensor("encoder.conv1.bias", [1, state], exponent=-6),
            tensor("encoder.conv2.weight", [3, state, state], conv, -5),
            tensor("encoder.conv2.bias", [1, state], exponent=-6),
            norm("encoder.ln_post", state),
            tensor("decoder.positional_embedding", [state, text_ctx], exponent=-1),
            tensor("decoder.token_embedding.weight", [state, n_vocab], kind, -1),
            norm("decoder.ln", state)]
    for side in ("encoder", "decoder"):
        for i in range(layers):
            at = f"{side}.blocks.{i}"
            out += [norm(f"{at}.mlp_ln", state), linear(f"{at}.mlp.0", state, 4 * state, kind),
                    linear(f"{at}.mlp.2", 4 * state, state, kind), norm(f"{at}.attn_ln", state),
                    attention(f"{at}.attn", state, kind)]
            if side == "decoder":
                out += [norm(f"{at}.cross_attn_ln", state), attention(f"{at}.cross_attn", state, kind)]
    with open(path, "wb") as file:
        file.write(b"".join(out))


def write_parakeet(path, kind=TENSOR_F32, state=64, layers=2):
    """A Parakeet TDT model."""
    heads, n_mels, n_fft, factor, channels, kernel = 4, 80, 512, 8, 16, 9
    n_vocab, hidden, durations = 128, 64, [0, 1, 2, 3, 4]
    words = [b"<unk>", b"<s>", b"</s>"]
    words += [("\u2581" * (i % 2) + "bdfgklmnprstvz"[i % 14] + "aeiou"[i // 14 % 5]
               + "nsr"[i // 70 % 3]).encode() for i in range(n_vocab - len(words))]
    out = [struct.pack("<I", MAGIC),
           ints(n_vocab, 5000, state, heads, layers, n_mels, 1 if kind == TENSOR_F16 else 0, n_fft, factor,
                channels, kernel, hidden, 1, len(durations), 10),
           ints(n_mels, n_fft // 2 + 1), mel_filters(n_mels, n_fft // 2 + 1),
           ints(n_fft), struct.pack(f"<{n_fft}f", *(0.5 - 0.5 * math.cos(2 * math.pi * i / n_fft)
                                                    for i in range(n_fft))),
           ints(*durations), vocabulary(words)]

    pre = "encoder.pre_encode"
    out.append(linear(f"{pre}.out", n_mels // factor * channels, state, kind))
    for i, (size, inner) in {0: (3, 1), 2: (3, 1), 3: (1, channels), 5: (3, 1), 6: (1, channels)}.items():
        out += [tensor(f"{pre}.conv.{i}.weight", [size, size, inner, channels], exponent=-3),
                tensor(f"{pre}.conv.{i}.bias", [1, 1, channels, 1], exponent=-6)]
    for i in range(layers):
        at = f"encoder.layers.{i}"
        for n in (1, 2):
            out += [norm(f"{at}.norm_feed_forward{n}", state),
                    linear(f"{at}.feed_forward{n}.linear1", state, 4 * state, kind, bias=False),
                    linear(f"{at}.feed_forward{n}.linear2", 4 * state, state, kind, bias=False)]
        out += [norm(f"{at}.norm_conv", state),
                linear(f"{at}.conv.pointwise_conv1", state, 2 * state, kind, bias=False),
                tensor(f"{at}.conv.depthwise_conv.weight", [kernel, state], exponent=-3),
                norm(f"{at}.conv.batch_norm", state),
                tensor(f"{at}.conv.batch_norm.running_mean", [state], exponent=-6),
                tensor(f"{at}.conv.batch_norm.running_var", [state], data=ones(state)),
                tensor(f"{at}.conv.batch_norm.num_batches_tracked", [1], data=ints(0)),
                linear(f"{at}.conv.pointwise_conv2", state, state, kind, bias=False),
                norm(f"{at}.norm_self_att", state),
                tensor(f"{at}.self_attn.pos_bias_u", [state // heads, heads], exponent=-4),
                tensor(f"{at}.self_attn.pos_bias_v", [state // heads, heads], exponent=-4)]
        out += [linear(f"{at}.self_attn.linear_{name}", state, state, kind, bias=False)
                for name in ("q", "k", "v", "out", "pos")]
        out.append(norm(f"{at}.norm_out", state))

    rnn = "decoder.prediction"
    out += [tensor(f"{rnn}.embed.weight", [hidden, n_vocab + 1], kind, -1),
            tensor(f"{rnn}.dec_rnn.lstm.weight_ih_l0", [hidden, 4 * hidden], kind, -4),
            tensor(f"{rnn}.dec_rnn.lstm.weight_hh_l0", [hidden, 4 * hidden], kind, -4),
            tensor(f"{rnn}.dec_rnn.lstm.bias_h_l0", [4 * hidden], exponent=-5),
            linear("joint.pred", hidden, hidden, kind), linear("joint.enc", state, hidden, kind),
            linear("joint.joint_net.2", hidden, n_vocab + len(durations) + 1, kind)]
    with open(path, "wb") as file:
        file.write(b"".join(out))


def write_vad(path):
    """A detector of voices, as Silero's."""
    layers = [(129, 128), (128, 64), (64, 64), (64, 128)]
    hidden, window, frame = 128, 512, 256
    name = b"silero-16k"
    out = [struct.pack("<I", MAGIC), ints(len(name)) + name, ints(5, 1, 2, window, 64, len(layers))]
    out += [ints(n_in, n_out, 3) for n_in, n_out in layers]
    out.append(ints(hidden, hidden, hidden, 1))
    for i, (n_in, n_out) in enumerate(layers):
        at = f"_model.encoder.{i}.reparam_conv"
        out += [tensor(f"{at}.weight", [3, n_in, n_out], TENSOR_F16, -5), tensor(f"{at}.bias", [n_out], exponent=-6)]
    rnn = "_model.decoder.rnn"
    out += [tensor(f"{rnn}.{name}", [hidden, 4 * hidden], exponent=-4) for name in ("weight_ih", "weight_hh")]
    out += [tensor(f"{rnn}.{name}", [4 * hidden], exponent=-6) for name in ("bias_ih", "bias_hh")]
    out += [tensor("_model.decoder.decoder.2.weight", [hidden], TENSOR_F16, 0),
            tensor("_model.decoder.decoder.2.bias", [], exponent=-6),
            tensor("_model.stft.forward_basis_buffer", [frame, 1, frame + 2], TENSOR_F16, -2)]
    with open(path, "wb") as file:
        file.write(b"".join(out))


def write_sound(path, seconds=3.0):
    """16 kHz, one channel: tones that glide, with some noise."""
    rate, noise, phase = 16000, random.Random(1), 0.0
    samples = []
    for i in range(int(rate * seconds)):
        phase += 2 * math.pi * (220 + 180 * math.sin(i / rate * 2.2)) / rate
        loud = 0.5 + 0.4 * math.sin(i / rate * 9)
        samples.append(int(9000 * loud * (math.sin(phase) + 0.4 * math.sin(3 * phase)
                                          + 0.1 * noise.uniform(-1, 1))))
    data = struct.pack(f"<{len(samples)}h", *samples)
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt "
                   + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
                   + b"data" + struct.pack("<I", len(data)) + data)
