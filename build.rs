//! Link options of the plugin.

use std::env::{split_paths, var, var_os};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // ONNX Runtime unloads a plugin with the last session that uses it and loads it anew for the next. Each load would
        // leave a domain and its operators behind; a library that stays has one per host for the life of the process.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    if takes_gnu_linker() {
        // lld, Rust's linker for this target, keeps the unwinding tables of all functions of the standard library, also
        // of those it left out: 107 KB, a seventh of the plugin. GNU's linker leaves them out, and with
        // `noseparate-code` the padding between code and data.
        println!("cargo:rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,noseparate-code");
    }
}

/// Only for release builds where lld is the default, nobody chose another linker, and GNU's is there.
fn takes_gnu_linker() -> bool {
    println!("cargo:rerun-if-env-changed=PATH");
    let target = var("TARGET").unwrap_or_default();
    let chosen = var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    var("PROFILE").is_ok_and(|profile| profile == "release")
        && target == "x86_64-unknown-linux-gnu"
        && var("HOST").is_ok_and(|host| host == target)
        && var_os("RUSTC_LINKER").is_none()
        && !chosen
        && var_os("PATH").is_some_and(|path| split_paths(&path).any(|folder| folder.join("ld.bfd").is_file()))
}
