//! Link options of the plugin.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if os == "linux" {
        // ONNX Runtime unloads a plugin with the last session that uses it. The domain and the operators stay with the
        // host for longer, and a library that stays is neither rebuilt nor leaked at every load.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
