//! Reading a [`NodeProto`]: built and read nodes answer alike.

use super::proto::{AttributeProto, NodeProto};

impl NodeProto {
    /// op_type, "" where absent
    pub fn op(&self) -> &str {
        self.op_type.as_deref().unwrap_or_default()
    }

    /// domain with "ai.onnx" normalised to ""
    pub fn op_domain(&self) -> &str {
        match self.domain.as_deref() {
            None | Some("ai.onnx") => "",
            Some(domain) => domain,
        }
    }

    /// whether this is `domain::op`
    pub fn is(&self, domain: &str, op: &str) -> bool {
        self.op() == op && self.op_domain() == domain
    }

    /// node name, "" where absent (same word as prost's getter)
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// input `i`, None where absent or empty
    pub fn input_at(&self, i: usize) -> Option<&str> {
        self.input.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// output `i`, None where absent or empty
    pub fn output_at(&self, i: usize) -> Option<&str> {
        self.output.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// an attribute by name
    pub fn attr(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// integer attribute
    pub fn attr_int(&self, name: &str) -> Option<i64> {
        self.attr(name).and_then(|attribute| attribute.i)
    }

    /// float attribute
    pub fn attr_float(&self, name: &str) -> Option<f32> {
        self.attr(name).and_then(|attribute| attribute.f)
    }

    /// string attribute (None also where it is not UTF-8)
    pub fn attr_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attr(name)?.s.as_deref()?).ok()
    }

    /// ints attribute
    pub fn attr_ints(&self, name: &str) -> Option<&[i64]> {
        self.attr(name).map(|attribute| attribute.ints.as_slice())
    }

    /// value of a metadata_props key of the node
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_props.iter().find(|entry| entry.key.as_deref() == Some(key))?.value.as_deref()
    }

    /// "Softmax 'name'" or, without a name, "Softmax -> 'output'": how a report names a node
    pub fn describe(&self) -> String {
        let op = match self.op_domain() {
            "" => self.op().to_owned(),
            domain => format!("{domain}::{}", self.op()),
        };
        match (self.label(), self.output.iter().find(|output| !output.is_empty())) {
            ("", Some(output)) => format!("{op} -> '{output}'"),
            ("", None) => op,
            (name, _) => format!("{op} '{name}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::node;

    #[test]
    fn describes_by_name_then_output() {
        assert_eq!(node("Softmax").name("head").outputs(["y"]).build().describe(), "Softmax 'head'");
        assert_eq!(node("Softmax").outputs(["", "y"]).build().describe(), "Softmax -> 'y'");
        assert_eq!(
            node("Gelu").domain("com.microsoft").outputs(["y"]).build().describe(),
            "com.microsoft::Gelu -> 'y'"
        );
        assert_eq!(node("Softmax").domain("ai.onnx").build().describe(), "Softmax");
    }

    #[test]
    fn optional_inputs_are_absent_when_empty() {
        let built = node("Clip").inputs(["x", "", "max"]).build();
        assert_eq!(
            [built.input_at(0), built.input_at(1), built.input_at(2), built.input_at(3)],
            [Some("x"), None, Some("max"), None]
        );
    }
}
