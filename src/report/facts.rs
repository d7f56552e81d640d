//! What was evaluated.

/// What a report says about the model. Everything in it may come from files; it is escaped where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// Title of the report: the model's file name.
    pub title: String,
    /// Label and value, a line each: logits, engine, inputs, …
    pub facts: Vec<(String, String)>,
    /// How the evaluation was made: version, options.
    pub footer: String,
}
