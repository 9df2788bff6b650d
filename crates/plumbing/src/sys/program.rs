//! The program's own file in memory.

use std::io;

use nix::libc::{
    self, MADV_DONTNEED, PF_W, PT_LOAD, c_int, c_void, dl_iterate_phdr, dl_phdr_info, madvise, size_t,
};

/// Most segments that are looked at: linkers make four.
const SEGMENTS_MAX: usize = 8;

/// Has the program's code and constants leave this process's memory; what of them is used is there again when it is used,
/// from the page cache, at the cost of a minor fault for 64 KiB. Of a program that serves for long much was used at its start
/// alone: reading configuration, making certificates.
///
/// # Errors
/// The kernel does not do it (madvise(2)); nothing is lost then.
pub fn release_program() -> io::Result<()> {
    let mut segments = Segments { of: [(0, 0); SEGMENTS_MAX], count: 0 };
    // SAFETY: the callback keeps to what dl_iterate_phdr(3) says of its arguments, and the last of them is `segments`, which
    // lives until it returns.
    unsafe { dl_iterate_phdr(Some(note_segments), (&raw mut segments).cast()) };
    // SAFETY: sysconf(3) reads no memory of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
    for (start, length) in &segments.of[..segments.count] {
        let first = start / page * page;
        let end = (start + length).next_multiple_of(page);
        // SAFETY: these pages are the program's, mapped from its file and never written (no segment that may be written is
        // among them, and none of the others is relocated, for rustc links without text relocations): what is dropped of
        // them is read from the file again, the same. Whoever runs in them meanwhile faults, and goes on.
        if unsafe { madvise(first as *mut c_void, end - first, MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Start and length in memory of the program's segments that are never written.
struct Segments {
    of: [(usize, usize); SEGMENTS_MAX],
    count: usize,
}

/// Notes those of the first object that it is called for, which is the program (dl_iterate_phdr(3)), and ends there.
unsafe extern "C" fn note_segments(info: *mut dl_phdr_info, _: size_t, found: *mut c_void) -> c_int {
    // SAFETY: so dl_iterate_phdr calls it: with an object that lives for the call, and with what it was given, which is
    // nobody else's meanwhile.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Segments>()) };
    // SAFETY: so many headers are there.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let (Ok(base), Ok(at), Ok(length)) = (
            usize::try_from(info.dlpi_addr),
            usize::try_from(header.p_vaddr),
            usize::try_from(header.p_memsz),
        ) else {
            continue;
        };
        if let Some(segment) = found.of.get_mut(found.count) {
            *segment = (base + at, length);
            found.count += 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// KiB of this process's memory that are pages of files.
    fn resident_of_files() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("it can be read");
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("it is there");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    fn the_programs_pages_leave_and_come_back() {
        // So that all of it is in the page cache.
        fs::read("/proc/self/exe").expect("it can be read");
        let constant = &CONSTANT;
        let sum = || constant.iter().fold(0_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte));
        let before = (sum(), resident_of_files());
        release_program().expect("it is done");
        let without = resident_of_files();
        assert!(without + 1_024 < before.1, "{without} KiB of {} are still there", before.1);
        assert_eq!(sum(), before.0, "what is read again is the same");
        assert!(resident_of_files() > without);
    }

    /// Two MiB that are in the program's file.
    static CONSTANT: [u8; 2 << 20] = {
        let mut bytes = [0; 2 << 20];
        let mut at = 0;
        while at < bytes.len() {
            bytes[at] = (at % 251) as u8;
            at += 4_096;
        }
        bytes
    };
}
