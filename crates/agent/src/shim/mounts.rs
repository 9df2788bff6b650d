//! What a container sees of the file system: the host's, with a `/proc` and a
//! `/dev/shm` of its own, its bind mounts, and read-only if it says so.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use bowline_model::task::BindMount;
use bowline_plumbing::sys::mount::set_read_only;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::pivot_root,
};
use rustix::{
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
    thread::{CapabilitySet, remove_capability_from_bounding_set},
};

use super::init::bind;
use crate::protocol::ContainerSetUp;

/// The capabilities that Docker leaves a container; within the task's user
/// namespace only. Without the others it can change neither its mounts nor
/// its networks.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Sets up this process's new mount namespace; gives what a user should know.
pub(crate) fn set_up(container: &ContainerSetUp) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    // Copies of the sources' mounts are taken before the root becomes read-only, which they would become too.
    let mut volumes = Vec::new();
    for volume in &container.mounts {
        make_source(volume)?;
        make_target(volume).map_err(in_mount(volume))?;
        volumes.push((volume, copy_mount(&volume.source).map_err(in_mount(volume))?));
    }
    if container.readonly_root {
        set_read_only(Path::new("/"), true)
            .map_err(|error| io::Error::other(format!("making the root read-only: {error}")))?;
    }
    let no_programs = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if let Err(error) = mount(Some("proc"), "/proc", Some("proc"), no_programs, None::<&str>) {
        warnings.push(format!("the containers see the host's /proc: {error}"));
    }
    let private = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if let Err(error) = mount(Some("shm"), "/dev/shm", Some("tmpfs"), private, Some("mode=1777,size=64m")) {
        warnings.push(format!("the containers share the host's /dev/shm: {error}"));
    }
    for (volume, copy) in volumes {
        place_mount(&copy, &volume.target).map_err(in_mount(volume))?;
        if volume.read_only {
            set_read_only(&volume.target, true).map_err(in_mount(volume))?;
        }
    }
    for capability in CapabilitySet::all().difference(CAPABILITIES).iter() {
        // Kernels know fewer of them than the library.
        let _ = remove_capability_from_bounding_set(capability);
    }
    Ok(warnings)
}

/// A copy of the mounts at and beneath `source`, not in the file system yet.
fn copy_mount(source: &Path) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(rustix::fs::CWD, source, flags)?)
}

fn place_mount(copy: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(copy, "", rustix::fs::CWD, target, flags)?)
}

/// What cannot be had without a mount namespace.
pub(crate) fn without_namespace(container: &ContainerSetUp) -> Vec<String> {
    let mut warnings = Vec::new();
    if container.mounts.iter().any(|volume| volume.source != volume.target) {
        warnings.push("mountPoints have no effect without a mount namespace".to_owned());
    }
    if container.readonly_root {
        warnings.push("readonlyRootFilesystem has no effect without a mount namespace".to_owned());
    }
    warnings
}

fn in_mount(volume: &BindMount) -> impl Fn(io::Error) -> io::Error {
    let (source, target) = (volume.source.clone(), volume.target.clone());
    move |error| {
        io::Error::new(
            error.kind(),
            format!("mounting {} at {}: {error}", source.display(), target.display()),
        )
    }
}

/// A volume's host directory is made when it does not exist, as Docker does.
fn make_source(volume: &BindMount) -> io::Result<()> {
    if volume.source.exists() {
        return Ok(());
    }
    fs::create_dir_all(&volume.source).map_err(in_mount(volume))
}

/// Makes the place of a mount that the host does not have, without touching
/// the host: the deepest directory that exists is replaced, for this container
/// only, by a copy of mounts in memory that has the place as well.
fn make_target(volume: &BindMount) -> io::Result<()> {
    make_place(&volume.target, volume.source.is_dir())
}

/// As [`make_target`], for any file or directory.
pub(crate) fn make_place(target: &Path, is_directory: bool) -> io::Result<()> {
    if !target.is_absolute() || target.components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
    }
    if target.exists() {
        return Ok(());
    }
    let existing = target
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
        .to_owned();
    let missing = target.strip_prefix(&existing).map_err(io::Error::other)?.to_owned();
    mirror(&existing, &missing, is_directory)
}

/// A directory that every system has and that gets a mount of its own anyway.
const STAGE: &str = "/dev/shm";

fn mirror(directory: &Path, missing: &Path, is_directory: bool) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("bowline"), STAGE, Some("tmpfs"), flags, Some("mode=755,size=16m"))?;
    fill_stage(directory, missing, is_directory).inspect_err(|_| {
        // What was there before shows again.
        let _ = umount2(STAGE, MntFlags::MNT_DETACH);
    })
}

fn fill_stage(directory: &Path, missing: &Path, is_directory: bool) -> io::Result<()> {
    let stage = Path::new(STAGE);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (from, to) = (entry.path(), stage.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
        } else {
            fs::File::create(&to)?;
        }
        bind(&from, &to)?;
    }
    let place: PathBuf = stage.join(missing);
    if is_directory {
        fs::create_dir_all(&place)?;
    } else {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(&place)?;
    }
    if directory == Path::new("/") {
        nix::unistd::chdir(stage)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        nix::unistd::chdir("/")?;
        return Ok(());
    }
    Ok(mount(Some(stage), directory, None::<&str>, MsFlags::MS_MOVE, None::<&str>)?)
}
