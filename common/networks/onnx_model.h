/* An ONNX model, built node by node and encoded once.
 *
 * This module knows the format and nothing of policies. Values have names; a node reads some
 * values and makes one; inputs and outputs have a first dimension `batch`, which each run sets.
 * Operators are those of opset 17. A node is added after those that it reads. Names are copied;
 * texts and data are borrowed until the model is encoded.
 *
 * All limits allow for any policy that policy_parse accepts: exceeding one is a bug (ASSERT). One
 * thread. */
#ifndef HINDCAST_NETWORKS_ONNX_MODEL_H
#define HINDCAST_NETWORKS_ONNX_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define ONNX_OPSET     17
#define ONNX_NAME_SIZE 64

enum onnx_type { ONNX_F32 = 1, ONNX_I64 = 7 }; /* the specification's numbers */

struct onnx_model;

/* `name` of the graph; `doc` says what the model is. */
status onnx_model_new(struct onnx_model **model, const char *name, const char *doc) MUST_CHECK;
void onnx_model_free(struct onnx_model *model);

/* Adds an input or an output of the graph, a tensor (batch, dims ..). */
void onnx_input(struct onnx_model *model, const char *name, enum onnx_type type, int n_dims,
                const int64_t *dims, const char *doc);
void onnx_output(struct onnx_model *model, const char *name, enum onnx_type type, int n_dims,
                 const int64_t *dims, const char *doc);

/* A constant of n_dims (0: a scalar), row-major. */
void onnx_constant(struct onnx_model *model, const char *name, enum onnx_type type, int n_dims,
                   const int64_t *dims, const void *data);
/* The same of one number or a few, which are copied. */
void onnx_scalar(struct onnx_model *model, const char *name, float value);
void onnx_integers(struct onnx_model *model, const char *name, int n, const int64_t *values);

/* output <- op(inputs); an absent input is "". */
void onnx_node(struct onnx_model *model, const char *op, const char *output, int n_inputs,
               const char *const *inputs);
/* An attribute of the node added last. */
void onnx_attribute_int(struct onnx_model *model, const char *name, int64_t value);
void onnx_attribute_float(struct onnx_model *model, const char *name, float value);

/* metadata_props; `text` is copied. NO_MEMORY. */
status onnx_note(struct onnx_model *model, const char *key, const char *text) MUST_CHECK;

/* The whole file; *bytes is the caller's (mem_free). NO_MEMORY. */
status onnx_encode(const struct onnx_model *model, void **bytes, size_t *size,
                   struct err *err) MUST_CHECK;

#endif
