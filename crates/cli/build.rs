//! How the release binary is linked: 8% of its size.

use std::{env, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    // Of the linkers, LLD can; it is what the pinned toolchain links this target with unless told otherwise.
    let given = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let other_linker = ["linker", "fuse-ld"].iter().any(|word| given.contains(word))
        || env::var("RUSTC_LINKER").is_ok_and(|name| !name.is_empty());
    if !is("TARGET", "x86_64-unknown-linux-gnu") || !is("PROFILE", "release") || other_linker {
        return;
    }
    // Identical functions, which generic code leaves by the thousand, are one.
    println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    // A bit instead of 24 bytes for each address in the data. Loaders know it since glibc 2.36, and older ones
    // refuse the binary by name of what they lack (GLIBC_ABI_DT_RELR).
    if is("HOST", "x86_64-unknown-linux-gnu") && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
