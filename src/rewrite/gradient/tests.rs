//! What `gradient` promises of whole graphs; rules are tested in their own files.
