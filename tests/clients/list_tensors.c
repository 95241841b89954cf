/* SPDX-License-Identifier: MIT
 *
 * list_tensors METADATA - prints the tensors that llama.cpp wants of a model
 *
 * METADATA is a GGUF file without tensors: an architecture and its parameters. llama.cpp makes a model
 * of it by itself and asks for the content of each tensor, by which its names and shapes become known.
 * Each is printed as a line "NAME N0 N1 N2 N3". models.py writes the file with the tensors.
 */
#include <inttypes.h>
#include <stdio.h>

#include <ggml-backend.h>
#include <gguf.h>
#include <llama.h>

static void print_tensor(struct ggml_tensor *tensor, void *unused)
{
    printf("%s", ggml_get_name(tensor));
    for (int i = 0; i < GGML_MAX_DIMS; i++)
        printf(" %" PRId64, tensor->ne[i]);
    printf("\n");
}

static void print_errors(enum ggml_log_level level, const char *text, void *unused)
{
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

int main(int argc, char **argv)
{
    struct gguf_init_params init = {.no_alloc = true};
    struct llama_model_params params = llama_model_default_params();
    struct gguf_context *metadata;
    struct llama_model *model;

    if (argc != 2) {
        fprintf(stderr, "usage: list_tensors METADATA\n");
        return 2;
    }
    llama_log_set(print_errors, NULL);
    ggml_backend_load_all();
    metadata = gguf_init_from_file(argv[1], init);
    if (!metadata)
        return 1;
    params.n_gpu_layers = 0;
    model = llama_model_init_from_user(metadata, print_tensor, NULL, params);
    gguf_free(metadata);
    if (!model)
        return 1;
    llama_model_free(model);
    return fflush(stdout) ? 1 : 0;
}
