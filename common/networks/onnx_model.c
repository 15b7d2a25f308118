/* The tree of protobuf-c messages behind an ONNX model.
 *
 * protobuf-c wants arrays of pointers to messages. All of them are members of one block, with the
 * names beside them, so that nothing has to be freed but the block and the texts of notes.
 *
 * Members have fixed capacities, which are asserted: the graphs come from policy_onnx.c, whose
 * sizes are bounded. Names are copied; documentation, operators and the data of constants are
 * borrowed until onnx_encode. */
#include "common/networks/onnx_model.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/onnx.pb-c.h"

#define IR_VERSION 8 /* the one that belongs to opset 17 */
/* Capacities for the largest graph of policy_onnx.c: three networks of NETWORK_LAYERS_MAX layers,
 * and what joins them. */
#define NODES_MAX     160
#define NODE_INPUTS   4
#define NODE_ATTRS    4
#define CONSTANTS_MAX 128
#define VALUES_MAX    4 /* inputs, and as many outputs */
#define DIMS_MAX      4
#define NOTES_MAX     64
#define NUMBERS_MAX   64 /* of onnx_scalar and onnx_integers together */

/* An operator with one output. The lists are what protobuf-c wants: pointers to the members. */
struct node {
    Onnx__NodeProto proto;
    char name[ONNX_NAME_SIZE]; /* also its output's */
    char inputs[NODE_INPUTS][ONNX_NAME_SIZE];
    /* Pointers to `inputs` and to `name`. */
    char *input_list[NODE_INPUTS], *output_list[1];
    Onnx__AttributeProto attributes[NODE_ATTRS];
    Onnx__AttributeProto *attribute_list[NODE_ATTRS];
};

/* A tensor of the graph, which ONNX calls an initializer; its elements are borrowed. */
struct constant {
    Onnx__TensorProto proto;
    char name[ONNX_NAME_SIZE];
    int64_t dims[DIMS_MAX];
};

/* An input or output of the graph, with the messages that its type is made of. */
struct graph_value {
    Onnx__ValueInfoProto proto;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    /* The first is the batch, which has a name instead of a size. */
    Onnx__TensorShapeProto__Dimension dims[DIMS_MAX];
    Onnx__TensorShapeProto__Dimension *dim_list[DIMS_MAX];
    char name[ONNX_NAME_SIZE];
};

struct onnx_model {
    Onnx__ModelProto proto;
    Onnx__GraphProto graph;
    /* The version of the operators that the graph uses. */
    Onnx__OperatorSetIdProto opset;
    Onnx__OperatorSetIdProto *opset_list[1];
    /* The elements are counted in `graph`, notes in `proto`. */
    struct node nodes[NODES_MAX];
    Onnx__NodeProto *node_list[NODES_MAX];
    struct constant constants[CONSTANTS_MAX];
    Onnx__TensorProto *constant_list[CONSTANTS_MAX];
    struct graph_value inputs[VALUES_MAX], outputs[VALUES_MAX];
    Onnx__ValueInfoProto *input_list[VALUES_MAX], *output_list[VALUES_MAX];
    Onnx__StringStringEntryProto notes[NOTES_MAX]; /* texts are ours */
    Onnx__StringStringEntryProto *note_list[NOTES_MAX];
    int64_t numbers[NUMBERS_MAX]; /* a float in the first half of one */
    size_t n_numbers;
};

/* protobuf-c's text fields are `char *`, but it does not write to them. */
static char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

static char *copy_name(char to[ONNX_NAME_SIZE], const char *name)
{
    /* Names are built from bounded parts: a name that does not fit is a mistake of the caller. */
    const int length = snprintf(to, ONNX_NAME_SIZE, "%s", name);
    ASSERT(length >= 0 && length < ONNX_NAME_SIZE);
    return to;
}

/* ---- The model ---- */

status onnx_model_new(struct onnx_model **out, const char *name, const char *doc)
{
    struct onnx_model *model = mem_new(sizeof *model);
    if (model == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* protobuf-c's messages are set up in place; nothing is allocated for them. */
    onnx__model_proto__init(&model->proto);
    onnx__graph_proto__init(&model->graph);
    onnx__operator_set_id_proto__init(&model->opset);
    /* Who made it. */
    model->proto.has_ir_version = true;
    model->proto.ir_version = IR_VERSION;
    model->proto.producer_name = borrowed("hindcast");
    model->proto.producer_version = borrowed(HINDCAST_VERSION);
    model->proto.doc_string = borrowed(doc);
    model->proto.graph = &model->graph;
    /* The standard operators, of the version that this program was written for. */
    model->opset.domain = borrowed("");
    model->opset.has_version = true;
    model->opset.version = ONNX_OPSET;
    model->opset_list[0] = &model->opset;
    model->proto.opset_import = model->opset_list;
    model->proto.n_opset_import = 1;
    model->proto.metadata_props = model->note_list;
    /* The graph's lists grow with their counts. */
    model->graph.name = borrowed(name);
    model->graph.node = model->node_list;
    model->graph.initializer = model->constant_list;
    model->graph.input = model->input_list;
    model->graph.output = model->output_list;
    *out = model;
    return STATUS_OK;
}

void onnx_model_free(struct onnx_model *model)
{
    if (model == NULL) {
        return;
    }
    /* Texts of notes are the only memory outside the block. */
    for (size_t i = 0; i < model->proto.n_metadata_props; i++) {
        mem_free(model->notes[i].key);
        mem_free(model->notes[i].value);
    }
    mem_free(model);
}

/* ---- Inputs and outputs ---- */

/* Fills in an input or output: its type, and the shape (batch, dims ..). Returns its message, which
 * is a member of `value`. */
static Onnx__ValueInfoProto *make_value(struct graph_value *value, const char *name,
                                        enum onnx_type type, int n_dims, const int64_t *dims,
                                        const char *doc)
{
    ASSERT(n_dims >= 0 && n_dims < DIMS_MAX);
    onnx__value_info_proto__init(&value->proto);
    onnx__type_proto__init(&value->type);
    onnx__type_proto__tensor__init(&value->tensor);
    onnx__tensor_shape_proto__init(&value->shape);
    /* Name and element type. */
    value->proto.name = copy_name(value->name, name);
    value->proto.doc_string = borrowed(doc);
    value->proto.type = &value->type;
    value->type.tensor_type = &value->tensor;
    value->tensor.has_elem_type = true;
    value->tensor.elem_type = (int32_t)type;
    value->tensor.shape = &value->shape;
    /* The shape, whose first dimension has a name instead of a size: any batch will do. */
    value->shape.dim = value->dim_list;
    value->shape.n_dim = (size_t)n_dims + 1;
    for (int i = 0; i <= n_dims; i++) {
        Onnx__TensorShapeProto__Dimension *dim = &value->dims[i];
        onnx__tensor_shape_proto__dimension__init(dim);
        if (i == 0) {
            dim->dim_param = borrowed("batch");
        } else {
            dim->has_dim_value = true;
            dim->dim_value = dims[i - 1];
        }
        value->dim_list[i] = dim;
    }
    return &value->proto;
}

void onnx_input(struct onnx_model *model, const char *name, enum onnx_type type, int n_dims,
                const int64_t *dims, const char *doc)
{
    const size_t i = model->graph.n_input++;
    ASSERT(i < VALUES_MAX);
    model->input_list[i] = make_value(&model->inputs[i], name, type, n_dims, dims, doc);
}

void onnx_output(struct onnx_model *model, const char *name, enum onnx_type type, int n_dims,
                 const int64_t *dims, const char *doc)
{
    const size_t i = model->graph.n_output++;
    ASSERT(i < VALUES_MAX);
    model->output_list[i] = make_value(&model->outputs[i], name, type, n_dims, dims, doc);
}

/* ---- Constants ---- */

void onnx_constant(struct onnx_model *model, const char *name, enum onnx_type type, int n_dims,
                   const int64_t *dims, const void *data)
{
    const size_t i = model->graph.n_initializer++;
    ASSERT(i < CONSTANTS_MAX);
    ASSERT(n_dims >= 0 && n_dims <= DIMS_MAX);
    struct constant *constant = &model->constants[i];
    /* Dimensions are copied, the elements are not. */
    size_t count = 1;
    for (int d = 0; d < n_dims; d++) {
        constant->dims[d] = dims[d];
        count *= (size_t)dims[d];
    }
    /* Raw data in the byte order of this machine, which is that of ONNX: little endian. */
    Onnx__TensorProto *proto = &constant->proto;
    onnx__tensor_proto__init(proto);
    proto->name = copy_name(constant->name, name);
    proto->has_data_type = true;
    proto->data_type = (int32_t)type;
    proto->dims = constant->dims;
    proto->n_dims = (size_t)n_dims;
    proto->has_raw_data = true;
    proto->raw_data.len = count * (type == ONNX_F32 ? sizeof(float) : sizeof(int64_t));
    proto->raw_data.data = (uint8_t *)(uintptr_t)data;
    model->constant_list[i] = proto;
}

void onnx_scalar(struct onnx_model *model, const char *name, float value)
{
    ASSERT(model->n_numbers < NUMBERS_MAX);
    /* The data of a constant must outlive this call: it is copied into the model. */
    int64_t *place = &model->numbers[model->n_numbers++];
    memcpy(place, &value, sizeof value);
    onnx_constant(model, name, ONNX_F32, 0, NULL, place);
}

void onnx_integers(struct onnx_model *model, const char *name, int n, const int64_t *values)
{
    ASSERT(n > 0 && model->n_numbers + (size_t)n <= NUMBERS_MAX);
    /* Copied into the model, as in onnx_scalar. */
    int64_t *place = &model->numbers[model->n_numbers];
    memcpy(place, values, (size_t)n * sizeof *place);
    model->n_numbers += (size_t)n;
    onnx_constant(model, name, ONNX_I64, 1, (const int64_t[]){n}, place);
}

/* ---- Nodes ---- */

void onnx_node(struct onnx_model *model, const char *op, const char *output, int n_inputs,
               const char *const *inputs)
{
    const size_t i = model->graph.n_node++;
    ASSERT(i < NODES_MAX);
    ASSERT(n_inputs > 0 && n_inputs <= NODE_INPUTS);
    struct node *node = &model->nodes[i];
    /* A node is named after the value that it makes. */
    onnx__node_proto__init(&node->proto);
    node->proto.op_type = borrowed(op);
    node->proto.name = copy_name(node->name, output);
    node->output_list[0] = node->name;
    node->proto.output = node->output_list;
    node->proto.n_output = 1;
    /* Inputs are found by name: a value of the graph, or a constant. */
    for (int k = 0; k < n_inputs; k++) {
        node->input_list[k] = copy_name(node->inputs[k], inputs[k]);
    }
    node->proto.input = node->input_list;
    node->proto.n_input = (size_t)n_inputs;
    /* Attributes come later, one by one: add_attribute. */
    node->proto.attribute = node->attribute_list;
    model->node_list[i] = &node->proto;
}

/* Appends an attribute, without its value, to the node added last. */
static Onnx__AttributeProto *add_attribute(struct onnx_model *model, const char *name)
{
    ASSERT(model->graph.n_node > 0);
    /* Attributes belong to the last node, since callers add them right after it. */
    struct node *node = &model->nodes[model->graph.n_node - 1];
    const size_t i = node->proto.n_attribute++;
    ASSERT(i < NODE_ATTRS);
    Onnx__AttributeProto *attribute = &node->attributes[i];
    onnx__attribute_proto__init(attribute);
    attribute->name = borrowed(name);
    attribute->has_type = true;
    node->attribute_list[i] = attribute;
    return attribute;
}

void onnx_attribute_int(struct onnx_model *model, const char *name, int64_t value)
{
    Onnx__AttributeProto *attribute = add_attribute(model, name);
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    attribute->has_i = true;
    attribute->i = value;
}

void onnx_attribute_float(struct onnx_model *model, const char *name, float value)
{
    Onnx__AttributeProto *attribute = add_attribute(model, name);
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    attribute->has_f = true;
    attribute->f = value;
}

/* ---- Notes, bytes ---- */

status onnx_note(struct onnx_model *model, const char *key, const char *text)
{
    const size_t i = model->proto.n_metadata_props;
    ASSERT(i < NOTES_MAX);
    Onnx__StringStringEntryProto *note = &model->notes[i];
    onnx__string_string_entry_proto__init(note);
    /* Counted only when both texts are there, so that freeing is safe. */
    note->key = mem_text(key);
    note->value = mem_text(text);
    if (note->key == NULL || note->value == NULL) {
        mem_free(note->key);
        mem_free(note->value);
        return STATUS_NO_MEMORY;
    }
    model->note_list[i] = note;
    model->proto.n_metadata_props++;
    return STATUS_OK;
}

status onnx_encode(const struct onnx_model *model, void **bytes, size_t *size, struct err *err)
{
    /* protobuf-c writes exactly as many bytes as it announced. */
    const size_t need = onnx__model_proto__get_packed_size(&model->proto);
    uint8_t *made = mem_new(need);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "ONNX model of %zu bytes", need);
    }
    const size_t packed = onnx__model_proto__pack(&model->proto, made);
    ASSERT(packed == need);
    *bytes = made;
    *size = need;
    return STATUS_OK;
}
