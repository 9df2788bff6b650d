//! Mount properties that no safe wrapper has.

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

use nix::libc;

/// Makes the mount at `path`, and with `recursive` all beneath it, read-only.
///
/// # Errors
/// Not permitted, or a kernel older than 5.12.
pub fn set_read_only(path: &Path, recursive: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: mount_attr is plain data, for which all zeros are valid.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated, the attributes are live and of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
