/* RoBERTa in C99, from the formulas: the post-LN encoder with pooler, and the masked LM head.
 *
 *     cc -std=c99 -O2 -o roberta roberta.c -lm
 *     ./roberta SUITE/CASE OUTPUT.safetensors
 *
 * computes one case of the golden suite, and writes all named values. It reads the raw files that
 * `minroberta golden suite SUITE --raw` writes: a directory for each case, with index.json and NAME.bin for each array.
 * The exit status is 2 after an error, and 3 if it does not support the case. `minroberta golden check`
 * compares.
 *
 * B: sequences, L: positions, D: channels, H: heads, E = D / H, F: feed-forward channels, V: tokens of the vocabulary.
 * Numbers are computed in float32, by a little-endian machine. Memory is freed when the program ends.
 */

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int shape[4], axes; /* (shape[0], ..., shape[axes - 1]), row-major */
  float *data;        /* ids are stored as floats too: float32 holds all integers up to 2^24 */
} Array;

static char *directory, *json; /* the case, and its index.json */
static int B, L, D, H, E, layers, pad;
static float eps;

static void fail(int status, const char *what, const char *name) {
  fprintf(stderr, "%s %s\n", what, name);
  exit(status);
}

static void *allocate(size_t size) {
  void *memory = calloc(size ? size : 1, 1);
  if (!memory) fail(2, "out of", "memory");
  return memory;
}

/* A name such as encoder.layer.0.output, from a format. */
static char *named(const char *format, ...) {
  char *name = allocate(300);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(name, 300, format, arguments);
  va_end(arguments);
  return name;
}

static int count_of(Array x) {
  int count = 1;
  for (int axis = 0; axis < x.axes; axis++) count *= x.shape[axis];
  return count;
}

static Array new_array(int axes, int first, int second, int third, int fourth) {
  Array x = {{first, second, third, fourth}, axes, NULL};
  x.data = allocate(count_of(x) * sizeof(float));
  return x;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(2, "cannot read", path);
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  char *content = allocate(*size + 1);
  if (fread(content, 1, *size, file) != *size) fail(2, "cannot read", path);
  fclose(file);
  return content;
}

/* The text after "name": in index.json, or NULL. Names are unique there, and need no escapes. */
static char *find(const char *name) {
  char *key = named("\"%s\": ", name), *found = strstr(json, key);
  return found ? found + strlen(key) : NULL;
}

static double number(const char *name) {
  char *text = find(name);
  if (!text) fail(2, "index.json has no", name);
  return strtod(text, NULL);
}

/* True if the value of a name begins with this text, such as "gelu" with its quotes. */
static int is(const char *name, const char *text) {
  char *value = find(name);
  return value && !strncmp(value, text, strlen(text));
}

static int has(const char *name) { return find(name) != NULL; }

/* The array of this name: float32 or int32 from NAME.bin, its shape from index.json. */
static Array load(const char *name) {
  char *entry = find(name);
  if (!entry) fail(2, "index.json has no", name);
  char *text = strchr(strstr(entry, "\"shape\""), '[') + 1;
  Array x = {{1, 1, 1, 1}, 0, NULL};
  while (x.axes < 4) { /* the numbers up to the bracket */
    char *end;
    long size = strtol(text, &end, 10);
    if (end == text) break;
    x.shape[x.axes++] = size;
    text = end + strspn(end, ", \n");
  }
  size_t size;
  char *bytes = read_file(named("%s/%s.bin", directory, name), &size);
  if (size != count_of(x) * sizeof(float)) fail(2, "wrong size of", name);
  x.data = (float *)bytes;
  if (strncmp(strstr(entry, "\"dtype\""), "\"dtype\": \"int32\"", 16)) return x;
  for (int i = 0; i < count_of(x); i++) {
    int32_t integer;
    memcpy(&integer, bytes + 4 * i, 4);
    x.data[i] = integer;
  }
  return x;
}

static Array weight(const char *name) { return load(named("weights.%s", name)); }

/* --- values, kept in the order of computation, and written as a safetensors file --------------------------------- */

static struct {
  const char *name;
  Array array;
} kept[2000];
static int kept_count;

static Array keep(const char *name, Array x) {
  if (kept_count == 2000) fail(2, "too many values:", name);
  kept[kept_count].name = name;
  kept[kept_count++].array = x;
  return x;
}

static void write_safetensors(const char *path) {
  char *header = allocate(500 * (kept_count + 1)), *end = header;
  long offset = 0;
  for (int i = 0; i < kept_count; i++) {
    Array x = kept[i].array;
    end += sprintf(end, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{', kept[i].name);
    for (int axis = 0; axis < x.axes; axis++) end += sprintf(end, axis ? ",%d" : "%d", x.shape[axis]);
    end += sprintf(end, "],\"data_offsets\":[%ld,%ld]}", offset, offset + 4L * count_of(x));
    offset += 4L * count_of(x);
  }
  *end++ = '}';
  uint64_t length = end - header;
  FILE *file = fopen(path, "wb");
  if (!file) fail(2, "cannot write", path);
  fwrite(&length, 8, 1, file);
  fwrite(header, 1, length, file);
  for (int i = 0; i < kept_count; i++) fwrite(kept[i].array.data, 4, count_of(kept[i].array), file);
  if (fclose(file)) fail(2, "cannot write", path);
}

/* --- mathematics on arrays ---------------------------------------------------------------------------------------- */

static float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); } /* x times the normal distribution of x */
static float gelu_tanh(float x) { return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x))); }

static Array map(float (*function)(float), Array x) {
  Array result = new_array(x.axes, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
  for (int i = 0; i < count_of(x); i++) result.data[i] = function(x.data[i]);
  return result;
}

static Array add(Array x, Array y) {
  Array result = new_array(x.axes, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
  for (int i = 0; i < count_of(x); i++) result.data[i] = x.data[i] + y.data[i];
  return result;
}

/* Rows of a table: ids (B, L), table (N, D) -> (B, L, D). */
static Array rows(Array ids, Array table) {
  Array result = new_array(3, B, L, D, 1);
  for (int row = 0; row < B * L; row++)
    memcpy(result.data + row * D, table.data + (int)ids.data[row] * D, D * sizeof(float));
  return result;
}

/* x · weightᵀ + bias: x (..., D), weight (F, D), bias (F) -> (..., F). */
static Array linear(Array x, Array weights, Array bias) {
  int outputs = weights.shape[0], inputs = weights.shape[1], count = count_of(x) / inputs;
  Array result = new_array(x.axes, x.shape[0], x.shape[1], x.shape[2], 1);
  result.shape[x.axes - 1] = outputs;
  result.data = allocate(count * outputs * sizeof(float));
  for (int row = 0; row < count; row++)
    for (int f = 0; f < outputs; f++) {
      float sum = 0;
      for (int d = 0; d < inputs; d++) sum += x.data[row * inputs + d] * weights.data[f * inputs + d];
      result.data[row * outputs + f] = sum + bias.data[f];
    }
  return result;
}

static Array dense(const char *name, Array x) {
  return keep(name, linear(x, weight(named("%s.weight", name)), weight(named("%s.bias", name))));
}

/* Layer norm over the last axis: (x - mean) / sqrt(variance + eps) * weight + bias, for each position alone. */
static Array norm(const char *name, Array x) {
  Array scale = weight(named("%s.weight", name)), bias = weight(named("%s.bias", name));
  Array result = new_array(x.axes, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
  for (int row = 0; row < count_of(x) / D; row++) {
    float *from = x.data + row * D, *to = result.data + row * D, mean = 0, variance = 0;
    for (int d = 0; d < D; d++) mean += from[d] / D;
    for (int d = 0; d < D; d++) variance += (from[d] - mean) * (from[d] - mean) / D;
    for (int d = 0; d < D; d++) to[d] = (from[d] - mean) / sqrtf(variance + eps) * scale.data[d] + bias.data[d];
  }
  return keep(name, result);
}

/* Softmax of n scores. The largest is subtracted first, so that exp does not overflow. */
static void softmax(const float *scores, float *probs, int n) {
  float largest = scores[0], sum = 0;
  for (int i = 1; i < n; i++) largest = fmaxf(largest, scores[i]);
  for (int i = 0; i < n; i++) sum += probs[i] = expf(scores[i] - largest);
  for (int i = 0; i < n; i++) probs[i] /= sum;
}

/* --- RoBERTa ------------------------------------------------------------------------------------------------------ */

/* Positions (B, L): pad + 1, pad + 2 ... for the tokens of a row, and pad for padding; embeddings have no padding. */
static Array position_ids(Array *ids) {
  Array result = new_array(2, B, L, 1, 1);
  for (int b = 0; b < B; b++) {
    int position = pad;
    for (int l = 0; l < L; l++) {
      int is_pad = ids && ids->data[b * L + l] == pad;
      result.data[b * L + l] = is_pad ? pad : ++position;
    }
  }
  return result;
}

/* Words + token types + positions, then a norm: (B, L) -> (B, L, D). */
static Array embeddings(void) {
  Array ids, words;
  int of_ids = has("inputs.input_ids");
  if (of_ids) ids = load("inputs.input_ids");
  else words = load("inputs.inputs_embeds");
  B = of_ids ? ids.shape[0] : words.shape[0];
  L = of_ids ? ids.shape[1] : words.shape[1];
  if (of_ids) words = keep("embeddings.word_embeddings", rows(ids, weight("embeddings.word_embeddings.weight")));
  Array types = has("inputs.token_type_ids") ? load("inputs.token_type_ids") : new_array(2, B, L, 1, 1);
  types = keep("embeddings.token_type_embeddings", rows(types, weight("embeddings.token_type_embeddings.weight")));
  Array positions = has("inputs.position_ids") ? load("inputs.position_ids") : position_ids(of_ids ? &ids : NULL);
  keep("embeddings.position_ids", positions);
  positions = keep("embeddings.position_embeddings", rows(positions, weight("embeddings.position_embeddings.weight")));
  Array sum = keep("embeddings.sum", add(add(words, types), positions));
  return keep("embeddings", norm("embeddings.LayerNorm", sum));
}

/* True if query q of sequence b attends to key k. The mask: (B, L), or (B, L, L) with a row for each query. */
static int attends(Array *mask, int b, int q, int k) {
  if (!mask) return 1;
  return mask->data[mask->axes == 3 ? (b * L + q) * L + k : b * L + k] != 0;
}

/* softmax(query · keyᵀ / √E + mask) · value, for each head: (B, L, D) -> (B, L, D). */
static Array self_attention(const char *name, int layer, Array x) {
  Array query = dense(named("%s.query", name), x);
  Array key = dense(named("%s.key", name), x);
  Array value = dense(named("%s.value", name), x);
  Array scores = new_array(4, B, H, L, L), probs = new_array(4, B, H, L, L), result = new_array(3, B, L, D, 1);
  Array mask, head_mask; /* (layers, H) */
  int masked = has("inputs.attention_mask"), masked_heads = has("inputs.head_mask");
  if (masked) mask = load("inputs.attention_mask");
  if (masked_heads) head_mask = load("inputs.head_mask");
  for (int b = 0; b < B; b++)
    for (int h = 0; h < H; h++) /* head h has the channels h·E to (h + 1)·E */
      for (int q = 0; q < L; q++) {
        int row = ((b * H + h) * L + q) * L;
        for (int k = 0; k < L; k++) {
          float dot = 0;
          for (int e = h * E; e < (h + 1) * E; e++)
            dot += query.data[(b * L + q) * D + e] * key.data[(b * L + k) * D + e];
          scores.data[row + k] = attends(masked ? &mask : NULL, b, q, k) ? dot / sqrtf(E) : -3.4028235e38f;
        }
        softmax(scores.data + row, probs.data + row, L);
        for (int k = 0; k < L; k++) {
          if (masked_heads) probs.data[row + k] *= head_mask.data[layer * H + h];
          for (int e = h * E; e < (h + 1) * E; e++)
            result.data[(b * L + q) * D + e] += probs.data[row + k] * value.data[(b * L + k) * D + e];
        }
      }
  keep(named("%s.scores", name), scores);
  keep(named("%s.probs", name), probs);
  return keep(name, result);
}

/* dense(x), plus the input of the block, normalised. */
static Array output(const char *name, Array x, Array input) {
  Array sum = keep(named("%s.sum", name), add(dense(named("%s.dense", name), x), input));
  return keep(name, norm(named("%s.LayerNorm", name), sum));
}

/* Attention, then two dense layers; after each, its input is added, and the sum is normalised. */
static Array encoder_layer(int layer, Array x) {
  char *name = named("encoder.layer.%d", layer);
  float (*activation)(float) = is("hidden_act", "\"gelu_new\"") ? gelu_tanh : gelu;
  Array mixed = self_attention(named("%s.attention.self", name), layer, x);
  Array attended = keep(named("%s.attention", name), output(named("%s.attention.output", name), mixed, x));
  Array wide = map(activation, dense(named("%s.intermediate.dense", name), attended)); /* (B, L, F) */
  keep(named("%s.intermediate", name), wide);
  return keep(name, output(named("%s.output", name), wide, attended));
}

/* tanh(dense(first position)): (B, L, D) -> (B, D). */
static Array pooler(Array x) {
  Array first = new_array(2, B, D, 1, 1);
  for (int b = 0; b < B; b++) memcpy(first.data + b * D, x.data + b * L * D, D * sizeof(float));
  return keep("pooler", map(tanhf, dense("pooler.dense", first)));
}

/* dense, GELU, norm; then a product with the word embeddings unless they are untied: (B, L, D) -> (B, L, V). */
static Array masked_lm_head(Array x) {
  Array activated = keep("lm_head.gelu", map(gelu, dense("lm_head.dense", x))); /* whatever hidden_act is */
  Array normal = norm("lm_head.layer_norm", activated);
  int tied = is("tie_word_embeddings", "true");
  Array decoder = weight(tied ? "embeddings.word_embeddings.weight" : "lm_head.decoder.weight");
  return keep("lm_head", linear(normal, decoder, weight("lm_head.bias")));
}

/* --- the case ----------------------------------------------------------------------------------------------------- */

static void check_supported(void) {
  int first = is("model_type", "\"roberta-prelayernorm\"") || is("model_type", "\"xlm-roberta-xl\"");
  if (first) fail(3, "skipped:", "norm first");
  if (!is("head", "\"encoder\"") && !is("head", "\"masked_lm\"")) fail(3, "skipped:", "other head");
  if (!is("position_embedding_type", "\"absolute\"")) fail(3, "skipped:", "relative positions");
}

int main(int count, char **arguments) {
  if (count != 3) fail(2, "give the directory of a case, and", "the file to write");
  directory = arguments[1];
  size_t size;
  json = read_file(named("%s/index.json", directory), &size);
  check_supported();
  D = number("hidden_size");
  H = number("num_attention_heads");
  E = D / H;
  layers = number("num_hidden_layers");
  pad = number("pad_token_id");
  eps = number("layer_norm_eps");

  Array x = embeddings();
  for (int layer = 0; layer < layers; layer++) x = encoder_layer(layer, x);
  keep("encoder", x);
  if (is("head", "\"masked_lm\"")) {
    keep("logits", masked_lm_head(x));
  } else {
    keep("last_hidden_state", x);
    keep("pooler_output", pooler(x));
  }
  write_safetensors(arguments[2]);
  return 0;
}
