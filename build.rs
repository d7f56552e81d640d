//! Link options of the plugin.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if os == "linux" {
        // ONNX Runtime unloads a plugin with the last session that uses it and loads it anew for the next. Each load would
        // leave a domain and its operators behind; a library that stays has one per host for the life of the process.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
