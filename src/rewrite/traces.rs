//! What our operators leave in a model beside their nodes.

use crate::model::Document;

use super::{BODY_DOMAIN, DOMAIN, is_our_domain};

/// Takes out functions and imports of our domains; for models in which no node calls them any more, or will be given
/// them anew.
pub(crate) fn drop_our_functions(document: &mut Document) {
    let ours: Vec<(String, String)> = document
        .functions()
        .iter()
        .map(|f| (f.proto().domain().to_owned(), f.proto().name().to_owned()))
        .filter(|(domain, _)| is_our_domain(domain))
        .collect();
    for (domain, name) in ours {
        document.remove_function(&domain, &name);
    }
    for domain in [DOMAIN, BODY_DOMAIN] {
        document.remove_opset(domain);
    }
}
