//! The name under which the dynamic linker knows the library: once it is loaded, whoever asks for it gets it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
}
