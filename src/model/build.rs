//! Building messages.

use bytes::Bytes;
use prost::Message;

use super::proto::*;
use super::shape::Dimension;

/// Fluent [`NodeProto`].
///
/// ```
/// let node = elonnx::model::node("Softmax").inputs(["x"]).outputs(["y"]).name("head").int("axis", 1).build();
/// assert_eq!(node.attr_int("axis"), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    node: NodeProto,
}

/// Starts a node of the standard domain.
pub fn node(op_type: &str) -> NodeBuilder {
    NodeBuilder { node: NodeProto { op_type: Some(op_type.to_owned()), ..NodeProto::default() } }
}

impl NodeBuilder {
    /// domain
    pub fn domain(mut self, domain: &str) -> Self {
        self.node.domain = (!domain.is_empty()).then(|| domain.to_owned());
        self
    }

    /// name
    pub fn name(mut self, name: &str) -> Self {
        self.node.name = Some(name.to_owned());
        self
    }

    /// inputs; "" leaves an optional one out; trailing empty ones are dropped
    pub fn inputs<S: AsRef<str>>(mut self, inputs: impl IntoIterator<Item = S>) -> Self {
        self.node.input = names(inputs);
        self
    }

    /// outputs; "" leaves an optional one out; trailing empty ones are dropped
    pub fn outputs<S: AsRef<str>>(mut self, outputs: impl IntoIterator<Item = S>) -> Self {
        self.node.output = names(outputs);
        self
    }

    /// int attribute
    pub fn int(self, name: &str, value: i64) -> Self {
        self.attribute(AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) })
    }

    /// float attribute
    pub fn float(self, name: &str, value: f32) -> Self {
        self.attribute(AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) })
    }

    /// string attribute
    pub fn string(self, name: &str, value: &str) -> Self {
        let s = Some(Bytes::copy_from_slice(value.as_bytes()));
        self.attribute(AttributeProto { s, ..attribute(name, AttributeType::String) })
    }

    /// ints attribute
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attribute(AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) })
    }

    /// tensor attribute
    pub fn tensor(self, name: &str, value: &TensorProto) -> Self {
        let t = Some(value.encode_to_vec().into());
        self.attribute(AttributeProto { t, ..attribute(name, AttributeType::Tensor) })
    }

    /// any attribute; one of the same name is replaced
    pub fn attribute(mut self, attribute: AttributeProto) -> Self {
        self.node.attribute.retain(|present| present.name != attribute.name);
        self.node.attribute.push(attribute);
        self
    }

    /// attribute that refers to the function's attribute `from`
    pub fn reference(self, name: &str, kind: AttributeType, from: &str) -> Self {
        self.attribute(AttributeProto { ref_attr_name: Some(from.to_owned()), ..attribute(name, kind) })
    }

    /// All of these attributes, behind those there are.
    #[must_use]
    pub fn attributes(mut self, attributes: impl IntoIterator<Item = AttributeProto>) -> Self {
        self.node.attribute.extend(attributes);
        self
    }

    /// `doc_string`; ORT Training marks gradient nodes with it.
    #[must_use]
    pub fn doc_string(mut self, text: &str) -> Self {
        self.node.doc_string = Some(text.to_owned());
        self
    }

    /// metadata_props entry
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.node.metadata_props.push(metadata_entry(key, value));
        self
    }

    /// The node.
    #[must_use]
    pub fn build(self) -> NodeProto {
        self.node
    }
}

fn names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    names
}

/// An attribute of a kind without value.
pub fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

/// A metadata entry.
pub fn metadata_entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A tensor type; `None` dims: rank unknown.
pub fn tensor_type(elem_type: i32, dims: Option<&[Dimension]>) -> TypeProto {
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dimension).collect() });
    TypeProto { tensor_type: Some(TensorTypeProto { elem_type: Some(elem_type), shape }), ..TypeProto::default() }
}

fn dimension(dim: &Dimension) -> DimensionProto {
    match dim {
        Dimension::Known(value) => DimensionProto { dim_value: Some(*value), ..DimensionProto::default() },
        Dimension::Symbol(name) => DimensionProto { dim_param: Some(name.clone()), ..DimensionProto::default() },
        Dimension::Unknown => DimensionProto::default(),
    }
}

/// A value_info of a tensor.
pub fn value_info(name: &str, elem_type: i32, dims: Option<&[Dimension]>) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(tensor_type(elem_type, dims)),
        ..ValueInfoProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_empty_names_are_dropped() {
        let built = node("Clip").inputs(["x", "", ""]).outputs(["y"]).build();
        assert_eq!(built.input, ["x"]);
    }

    #[test]
    fn attributes_carry_their_kind() {
        let built = node("X")
            .int("i", 3)
            .float("f", 0.5)
            .string("s", "mean")
            .ints("v", &[1, 2])
            .tensor("t", &TensorProto::scalar("", 1, 2.0))
            .reference("r", AttributeType::Float, "log_end")
            .int("i", 4)
            .build();
        assert_eq!(
            (built.attr_int("i"), built.attr_float("f"), built.attr_str("s")),
            (Some(4), Some(0.5), Some("mean"))
        );
        assert_eq!(built.attr_ints("v"), Some(&[1, 2][..]));
        let kinds: Vec<_> = ["i", "f", "s", "v", "t", "r"].map(|name| built.attr(name).unwrap().r#type()).to_vec();
        use AttributeType::*;
        assert_eq!(kinds, [Int, Float, String, Ints, Tensor, Float]);
        assert_eq!(built.attr("r").unwrap().ref_attr_name(), "log_end");
    }
}
