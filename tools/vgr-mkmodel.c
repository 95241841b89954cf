/* SPDX-License-Identifier: MIT
 *
 * vgr-mkmodel - write a GGUF file with a llama model of random weights
 *
 * Theory of operation
 *
 * Tests and benchmarks need models of any shape, without a download. A model of random weights
 * loads and runs in every llama.cpp program, costs what a trained one of the same shape costs, and
 * its greedy output is a sharp equality test; only its text is noise.
 *
 * The file's header comes from ggml's own gguf.h. The weights follow it by hand, block by block, so
 * that memory stays small whatever the size of the model. Every row of every tensor seeds its own
 * generator from (seed, tensor, row): the result depends on the options alone, not on the number of
 * threads that make it. Weights are uniform with variance 1 / fan-in, norms are one. Embeddings have
 * variance 1, so that the text depends on what was said last and does not end in one word repeated.
 *
 * The vocabulary has three special tokens, the 256 bytes (so that any prompt can be tokenized), and
 * pronounceable words.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ggml.h>
#include <gguf.h>

#define N_SPECIAL      3
#define N_BYTES        256
#define MAX_THREADS    64
#define BLOCK_FLOATS   (4u << 20)   /* weights made at a time, over all threads */
#define PROGRESS_BYTES (256u << 20) /* files from this size on show progress */

/* Token types of tokenizer.ggml.token_type, as llama.cpp defines them. */
enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_BYTE = 6 };

struct shape {
    const char *name;
    int layers, embd, ff, heads, heads_kv, vocab, ctx;
    enum ggml_type type;
};

static const struct shape presets[] = {
    {"tiny", 4, 512, 1536, 8, 4, 4096, 2048, GGML_TYPE_Q4_0},
    {"tiny16", 16, 512, 1536, 8, 4, 4096, 2048, GGML_TYPE_Q4_0},
    {"1b", 16, 2048, 8192, 32, 8, 128256, 8192, GGML_TYPE_Q4_0},
    {"8b", 32, 4096, 14336, 32, 8, 128256, 8192, GGML_TYPE_Q4_0},
};

static const enum ggml_type types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_F16,
                                       GGML_TYPE_F32};

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* One thread's share of a block of rows. */
struct job {
    enum ggml_type type;
    uint64_t seed;  /* of the tensor */
    float variance; /* of the weights */
    int64_t n_per_row;
    int64_t row, n_rows; /* row: the first one's index in the tensor */
    float *floats;       /* n_rows * n_per_row */
    char *out;
};

static void usage(void)
{
    printf("usage: vgr-mkmodel [OPTION...] -o FILE\n"
           "\n"
           "Writes a GGUF file with a llama model of random weights.\n"
           "\n"
           "  -o, --output FILE   the file to write (required)\n"
           "  --preset NAME       tiny (default), tiny16, 1b or 8b; the options below change it\n"
           "  --layers N          number of layers\n"
           "  --embd N            width of the model\n"
           "  --ff N              width of the feed-forward part\n"
           "  --heads N           attention heads\n"
           "  --heads-kv N        key and value heads\n"
           "  --vocab N           tokens in the vocabulary (at least %d)\n"
           "  --ctx N             context length that the model claims\n"
           "  --type TYPE         type of the matrices: q4_0, q8_0, f16 or f32\n"
           "  --seed N            another number, other weights (default 1)\n"
           "  -h, --help          this text\n"
           "\n"
           "preset   layers  embd     ff  heads  kv   vocab\n",
           N_SPECIAL + N_BYTES + 1);
    for (size_t i = 0; i < ARRAY_SIZE(presets); i++) {
        const struct shape *s = &presets[i];
        printf("%-8s %6d %5d %6d %6d %3d %7d\n", s->name, s->layers, s->embd, s->ff, s->heads,
               s->heads_kv, s->vocab);
    }
}

__attribute__((format(printf, 1, 2), noreturn)) static void die_usage(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "vgr-mkmodel: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, " (see --help)\n");
    exit(2);
}

static long parse_number(const char *option, const char *text, long min, long max)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end)
        die_usage("--%s: not a number: '%s'", option, text);
    if (n < min || n > max)
        die_usage("--%s: %ld is not in %ld to %ld", option, n, min, max);
    return n;
}

static const struct shape *parse_preset(const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(presets); i++) {
        if (!strcmp(text, presets[i].name))
            return &presets[i];
    }
    die_usage("--preset: unknown preset '%s'", text);
}

static enum ggml_type parse_type(const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (!strcmp(text, ggml_type_name(types[i])))
            return types[i];
    }
    die_usage("--type: unknown type '%s'", text);
}

/* Ends the program unless a model of this shape can exist. */
static void check_shape(const struct shape *s)
{
    int block = (int)ggml_blck_size(s->type);

    if (s->embd % s->heads)
        die_usage("--embd %d is not a multiple of --heads %d", s->embd, s->heads);
    if (s->heads % s->heads_kv)
        die_usage("--heads %d is not a multiple of --heads-kv %d", s->heads, s->heads_kv);
    if (s->embd / s->heads % 2)
        die_usage("--embd / --heads is %d, an odd number", s->embd / s->heads);
    if (s->embd % block || s->ff % block)
        die_usage("--embd and --ff must be multiples of %d, the block of %s", block,
                  ggml_type_name(s->type));
}

/* splitmix64: small, and good enough for weights. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void *fill_rows(void *arg)
{
    struct job *j = arg;
    float limit = sqrtf(3.0f * j->variance); /* uniform in +-limit has variance limit^2 / 3 */
    float *f = j->floats;

    for (int64_t r = 0; r < j->n_rows; r++) {
        uint64_t state = j->seed + (uint64_t)(j->row + r) * 0xd1342543de82ef95u;

        next_random(&state);
        for (int64_t i = 0; i < j->n_per_row; i++)
            *f++ = limit * ((float)(next_random(&state) >> 40) * 0x1p-23f - 1.0f);
    }
    ggml_quantize_chunk(j->type, j->floats, j->out, 0, j->n_rows, j->n_per_row, NULL);
    return NULL;
}

static void show_progress(size_t done, size_t total)
{
    static time_t last;
    static bool tty_known, tty;
    time_t now = time(NULL);

    if (!tty_known) {
        tty = isatty(STDERR_FILENO);
        tty_known = true;
    }
    if (total < PROGRESS_BYTES || (done < total && now - last < (tty ? 1 : 10)))
        return;
    last = now;
    fprintf(stderr, "%svgr-mkmodel: %zu of %zu MiB%s", tty ? "\r" : "", done >> 20, total >> 20,
            tty && done < total ? "" : "\n");
}

/* Writes a matrix of random weights. Returns 0 or -errno. */
static int write_matrix(FILE *file, const struct ggml_tensor *t, uint64_t seed, int n_threads,
                        float *floats, char *out, size_t *done, size_t total)
{
    int64_t n_per_row = t->ne[0], rows = t->ne[1];
    bool embedding = !strcmp(ggml_get_name(t), "token_embd.weight");
    float variance = embedding ? 1.0f : 1.0f / (float)n_per_row;
    int64_t share = (int64_t)BLOCK_FLOATS / n_threads / n_per_row;
    size_t row_size = ggml_row_size(t->type, n_per_row);

    if (share < 1)
        share = 1;
    for (int64_t row = 0; row < rows;) {
        pthread_t threads[MAX_THREADS];
        struct job jobs[MAX_THREADS];
        int64_t first = row;
        int n = 0;

        for (; n < n_threads && row < rows; n++) {
            int64_t count = rows - row < share ? rows - row : share;

            jobs[n] = (struct job){.type = t->type,
                                   .seed = seed,
                                   .variance = variance,
                                   .n_per_row = n_per_row,
                                   .row = row,
                                   .n_rows = count,
                                   .floats = floats + (row - first) * n_per_row,
                                   .out = out + (size_t)(row - first) * row_size};
            if (pthread_create(&threads[n], NULL, fill_rows, &jobs[n]))
                break;
            row += count;
        }
        for (int i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
        if (n == 0)
            return -EAGAIN;
        if (fwrite(out, row_size, (size_t)(row - first), file) != (size_t)(row - first))
            return -errno;
        *done += row_size * (size_t)(row - first);
        show_progress(*done, total);
    }
    return 0;
}

/* Writes one tensor's data, padded to the file's alignment. Returns 0 or -errno. */
static int write_tensor(FILE *file, const struct ggml_tensor *t, size_t alignment, uint64_t seed,
                        int n_threads, float *floats, char *out, size_t *done, size_t total)
{
    static const char zeros[256];
    size_t pad = GGML_PAD(ggml_nbytes(t), alignment) - ggml_nbytes(t);

    if (ggml_n_dims(t) == 1) {
        for (int64_t i = 0; i < t->ne[0]; i++) {
            float one = 1.0f;

            if (fwrite(&one, sizeof(one), 1, file) != 1)
                return -errno;
        }
    } else {
        int ret = write_matrix(file, t, seed, n_threads, floats, out, done, total);

        if (ret)
            return ret;
    }
    if (fwrite(zeros, 1, pad, file) != pad)
        return -errno;
    return 0;
}

/* Writes a word of consonants and vowels for number n into buf: another n, another word. */
static void make_word(char *buf, size_t size, unsigned n)
{
    static const char consonants[] = "bdfgklmnprstvz";
    static const char vowels[] = "aeiou";
    const unsigned base = (sizeof(consonants) - 1) * (sizeof(vowels) - 1);
    size_t len = (size_t)snprintf(buf, size, "\xe2\x96\x81"); /* U+2581, a word's beginning */

    for (n++; n && len + 3 < size; n = (n - 1) / base) { /* bijective: no word has two numbers */
        unsigned digit = (n - 1) % base;

        buf[len++] = consonants[digit / (sizeof(vowels) - 1)];
        buf[len++] = vowels[digit % (sizeof(vowels) - 1)];
    }
    buf[len] = '\0';
}

/* Adds the vocabulary. Returns 0 or -ENOMEM. */
static int add_vocabulary(struct gguf_context *gguf, int vocab)
{
    static const char *const specials[N_SPECIAL] = {"<unk>", "<s>", "</s>"};
    enum { WORD = 24 };
    const char **tokens = calloc((size_t)vocab, sizeof(*tokens));
    char (*text)[WORD] = calloc((size_t)vocab, sizeof(*text));
    int32_t *kinds = calloc((size_t)vocab, sizeof(*kinds));
    float *scores = calloc((size_t)vocab, sizeof(*scores));
    int ret = -ENOMEM;

    if (!tokens || !text || !kinds || !scores)
        goto out;
    for (int i = 0; i < vocab; i++) {
        tokens[i] = text[i];
        if (i < N_SPECIAL) {
            snprintf(text[i], WORD, "%s", specials[i]);
            kinds[i] = i == 0 ? TOKEN_UNKNOWN : TOKEN_CONTROL;
        } else if (i < N_SPECIAL + N_BYTES) {
            snprintf(text[i], WORD, "<0x%02X>", (unsigned)(i - N_SPECIAL));
            kinds[i] = TOKEN_BYTE;
        } else {
            make_word(text[i], WORD, (unsigned)(i - N_SPECIAL - N_BYTES));
            kinds[i] = TOKEN_NORMAL;
        }
    }
    gguf_set_val_str(gguf, "tokenizer.ggml.model", "llama");
    gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", tokens, (size_t)vocab);
    gguf_set_arr_data(gguf, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores, (size_t)vocab);
    gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, kinds, (size_t)vocab);
    gguf_set_val_u32(gguf, "tokenizer.ggml.unknown_token_id", 0);
    gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", 1);
    gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", 2);
    ret = 0;
out:
    free(scores);
    free(kinds);
    free(text);
    free(tokens);
    return ret;
}

static void add_tensor(struct gguf_context *gguf, struct ggml_context *ggml, const char *name,
                       enum ggml_type type, int64_t columns, int64_t rows)
{
    struct ggml_tensor *t = rows ? ggml_new_tensor_2d(ggml, type, columns, rows)
                                 : ggml_new_tensor_1d(ggml, GGML_TYPE_F32, columns);

    ggml_set_name(t, name);
    gguf_add_tensor(gguf, t);
}

static void add_tensors(struct gguf_context *gguf, struct ggml_context *ggml, const struct shape *s)
{
    const int64_t embd = s->embd, ff = s->ff, kv = embd / s->heads * s->heads_kv;
    const struct {
        const char *name;
        int64_t columns, rows; /* rows 0: a norm */
    } layer[] = {
        {"attn_norm", embd, 0}, {"attn_q", embd, embd},      {"attn_k", embd, kv},
        {"attn_v", embd, kv},   {"attn_output", embd, embd}, {"ffn_norm", embd, 0},
        {"ffn_gate", embd, ff}, {"ffn_up", embd, ff},        {"ffn_down", ff, embd},
    };

    add_tensor(gguf, ggml, "token_embd.weight", s->type, embd, s->vocab);
    for (int l = 0; l < s->layers; l++) {
        for (size_t i = 0; i < ARRAY_SIZE(layer); i++) {
            char name[GGML_MAX_NAME];

            snprintf(name, sizeof(name), "blk.%d.%s.weight", l, layer[i].name);
            add_tensor(gguf, ggml, name, s->type, layer[i].columns, layer[i].rows);
        }
    }
    add_tensor(gguf, ggml, "output_norm.weight", s->type, embd, 0);
    add_tensor(gguf, ggml, "output.weight", s->type, embd, s->vocab);
}

static int add_metadata(struct gguf_context *gguf, const struct shape *s)
{
    gguf_set_val_str(gguf, "general.architecture", "llama");
    gguf_set_val_str(gguf, "general.name", "vgr random weights");
    gguf_set_val_u32(gguf, "llama.context_length", (uint32_t)s->ctx);
    gguf_set_val_u32(gguf, "llama.embedding_length", (uint32_t)s->embd);
    gguf_set_val_u32(gguf, "llama.block_count", (uint32_t)s->layers);
    gguf_set_val_u32(gguf, "llama.feed_forward_length", (uint32_t)s->ff);
    gguf_set_val_u32(gguf, "llama.attention.head_count", (uint32_t)s->heads);
    gguf_set_val_u32(gguf, "llama.attention.head_count_kv", (uint32_t)s->heads_kv);
    gguf_set_val_f32(gguf, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_set_val_u32(gguf, "llama.rope.dimension_count", (uint32_t)(s->embd / s->heads));
    return add_vocabulary(gguf, s->vocab);
}

/* Writes the weights behind the header in `path`. Returns 0 or -errno. */
static int write_weights(const char *path, const struct gguf_context *gguf,
                         struct ggml_context *ggml, uint64_t seed)
{
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int n_threads = n_cpus < 1 ? 1 : n_cpus > MAX_THREADS ? MAX_THREADS : (int)n_cpus;
    float *floats = NULL;
    char *out = NULL;
    FILE *file = NULL;
    size_t total = 0, done = 0, longest = 0;
    int64_t index = 0;
    int ret = -ENOMEM;

    for (struct ggml_tensor *t = ggml_get_first_tensor(ggml); t;
         t = ggml_get_next_tensor(ggml, t)) {
        total += ggml_n_dims(t) == 1 ? 0 : ggml_nbytes(t);
        longest = (size_t)t->ne[0] > longest ? (size_t)t->ne[0] : longest;
    }
    /* A block is BLOCK_FLOATS weights, or a row for each thread where rows are longer. */
    longest *= (size_t)n_threads;
    if (longest < BLOCK_FLOATS)
        longest = BLOCK_FLOATS;
    floats = malloc(longest * sizeof(*floats));
    out = malloc(longest * sizeof(*floats)); /* no type here is larger than a float */
    if (!floats || !out)
        goto out;

    ret = -EIO;
    file = fopen(path, "ab");
    if (!file) {
        ret = -errno;
        goto out;
    }
    for (struct ggml_tensor *t = ggml_get_first_tensor(ggml); t;
         t = ggml_get_next_tensor(ggml, t)) {
        uint64_t state = seed * 0x2545f4914f6cdd1du + (uint64_t)index++;

        ret = write_tensor(file, t, gguf_get_alignment(gguf), next_random(&state), n_threads,
                           floats, out, &done, total);
        if (ret)
            goto out;
    }
    ret = 0;
out:
    if (file && fclose(file) && !ret)
        ret = -errno;
    free(out);
    free(floats);
    return ret;
}

/* Writes the model under a temporary name and renames it. Returns 0 or -errno. */
static int write_model(const char *path, const struct shape *s, uint64_t seed)
{
    size_t n_tensors = 3 + 9 * (size_t)s->layers;
    struct ggml_init_params params = {.mem_size = n_tensors * ggml_tensor_overhead() + 1024,
                                      .no_alloc = true};
    struct gguf_context *gguf = gguf_init_empty();
    struct ggml_context *ggml = ggml_init(params);
    char *temporary = NULL;
    int ret = -ENOMEM;

    if (!gguf || !ggml || asprintf(&temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
        goto out;
    ret = add_metadata(gguf, s);
    if (ret)
        goto out;
    add_tensors(gguf, ggml, s);
    errno = 0;
    if (!gguf_write_to_file(gguf, temporary, true)) {
        ret = errno ? -errno : -EIO;
        goto out;
    }
    ret = write_weights(temporary, gguf, ggml, seed);
    if (!ret && rename(temporary, path) < 0)
        ret = -errno;
    if (ret)
        unlink(temporary);
out:
    free(temporary);
    if (ggml)
        ggml_free(ggml);
    if (gguf)
        gguf_free(gguf);
    return ret;
}

static int first_set(int option, int preset)
{
    return option ? option : preset;
}

int main(int argc, char **argv)
{
    enum { PRESET = 256, LAYERS, EMBD, FF, HEADS, HEADS_KV, VOCAB, CTX, TYPE, SEED };
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"preset", required_argument, NULL, PRESET},
        {"layers", required_argument, NULL, LAYERS},
        {"embd", required_argument, NULL, EMBD},
        {"ff", required_argument, NULL, FF},
        {"heads", required_argument, NULL, HEADS},
        {"heads-kv", required_argument, NULL, HEADS_KV},
        {"vocab", required_argument, NULL, VOCAB},
        {"ctx", required_argument, NULL, CTX},
        {"type", required_argument, NULL, TYPE},
        {"seed", required_argument, NULL, SEED},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const struct shape *preset = &presets[0];
    struct shape changes = {.type = GGML_TYPE_COUNT}, s;
    const char *path = NULL;
    uint64_t seed = 1;
    int c, ret;

    while ((c = getopt_long(argc, argv, "ho:", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            usage();
            return 0;
        case 'o':
            path = optarg;
            break;
        case PRESET:
            preset = parse_preset(optarg);
            break;
        case LAYERS:
            changes.layers = (int)parse_number("layers", optarg, 1, 1000);
            break;
        case EMBD:
            changes.embd = (int)parse_number("embd", optarg, 2, 1 << 17);
            break;
        case FF:
            changes.ff = (int)parse_number("ff", optarg, 1, 1 << 18);
            break;
        case HEADS:
            changes.heads = (int)parse_number("heads", optarg, 1, 512);
            break;
        case HEADS_KV:
            changes.heads_kv = (int)parse_number("heads-kv", optarg, 1, 512);
            break;
        case VOCAB:
            changes.vocab = (int)parse_number("vocab", optarg, N_SPECIAL + N_BYTES + 1, 300000);
            break;
        case CTX:
            changes.ctx = (int)parse_number("ctx", optarg, 1, 1 << 24);
            break;
        case TYPE:
            changes.type = parse_type(optarg);
            break;
        case SEED:
            seed = (uint64_t)parse_number("seed", optarg, 0, INT32_MAX);
            break;
        default:
            fprintf(stderr, "vgr-mkmodel: see --help\n");
            return 2;
        }
    }
    if (optind < argc)
        die_usage("unexpected argument '%s'", argv[optind]);
    if (!path)
        die_usage("no output file: -o FILE is required");

    s = (struct shape){
        .layers = first_set(changes.layers, preset->layers),
        .embd = first_set(changes.embd, preset->embd),
        .ff = first_set(changes.ff, preset->ff),
        .heads = first_set(changes.heads, preset->heads),
        .heads_kv = first_set(changes.heads_kv, preset->heads_kv),
        .vocab = first_set(changes.vocab, preset->vocab),
        .ctx = first_set(changes.ctx, preset->ctx),
        .type = changes.type != GGML_TYPE_COUNT ? changes.type : preset->type,
    };
    check_shape(&s);

    ret = write_model(path, &s, seed);
    if (ret) {
        fprintf(stderr, "vgr-mkmodel: %s: %s\n", path, strerror(-ret));
        return 1;
    }
    return 0;
}
