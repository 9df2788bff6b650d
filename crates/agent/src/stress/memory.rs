//! Load on memory.

use std::{
    fs,
    hint::black_box,
    io,
    time::{Duration, Instant},
};

use super::Watch;

/// Memory is taken in pieces of this size, and what is left looked at after each.
const PIECE: usize = 4 * 1024 * 1024;

/// The smallest page of the systems that we run on.
const PAGE: usize = 4096;

/// Of what a machine has free, so much is left to it.
const LEFT_PERCENT: u64 = 10;

/// Where a machine gives its memory away slowly, the load is said to be there after so long, and goes on growing.
const GROWTH_TIMEOUT: Duration = Duration::from_secs(20);

/// Memory that is held and was written to.
#[derive(Debug)]
pub(super) struct Memory {
    pieces: Vec<Vec<u8>>,
    remaining: usize,
    /// What the machine has left at least, in bytes.
    floor: u64,
}

impl Memory {
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// Takes memory and writes to each page of it, until there is enough, it is `over`, or the machine would have too
    /// little left.
    fn grow(&mut self, over: impl Fn() -> bool) -> io::Result<()> {
        while self.remaining > 0 && !over() {
            if machine()?.1 < self.floor + PIECE as u64 {
                self.remaining = 0;
                break;
            }
            let size = self.remaining.min(PIECE);
            let mut piece = Vec::new();
            piece.try_reserve_exact(size).map_err(io::Error::other)?;
            // Not zero: the kernel gives pages of zeros away without having them.
            piece.resize(size, 1);
            self.pieces.push(black_box(piece));
            self.remaining -= size;
        }
        Ok(())
    }
}

impl super::Held for Memory {
    fn touch(&mut self, watch: &Watch) {
        // What cannot be had now is not needed for what there is.
        let _ = self.grow(|| watch.is_over(Duration::ZERO));
        for byte in self.pieces.iter_mut().flat_map(|piece| piece.iter_mut().step_by(PAGE)) {
            *black_box(byte) ^= 1;
        }
    }
}

/// How many bytes a percentage is: of the limit, or of the machine's memory where there is none; as much as there is
/// room for, and never what the machine needs.
pub(super) fn to_hold(percent: u8, limit: Option<u64>, room: Option<u64>) -> io::Result<u64> {
    let (total, available) = machine()?;
    let bytes = share(percent, limit.unwrap_or(total), room, available);
    if bytes < PAGE as u64 {
        return Err(io::Error::other("there is no memory left to hold: what is free is needed"));
    }
    Ok(bytes)
}

fn share(percent: u8, of: u64, room: Option<u64>, available: u64) -> u64 {
    let wanted = u64::try_from(u128::from(of) * u128::from(percent) / 100).unwrap_or(u64::MAX);
    wanted.min(room.unwrap_or(u64::MAX)).min(available - left(available))
}

/// Returns when so many bytes are held, or as many as can be had in some time.
pub(super) fn hold(bytes: u64, watch: &Watch) -> io::Result<Memory> {
    let remaining = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut memory = Memory { pieces: Vec::new(), remaining, floor: left(machine()?.1) };
    let late = Instant::now() + GROWTH_TIMEOUT;
    memory.grow(|| Instant::now() >= late || watch.is_over(Duration::ZERO))?;
    Ok(memory)
}

fn left(available: u64) -> u64 {
    available / 100 * LEFT_PERCENT
}

/// The machine's memory, all and available, in bytes.
fn machine() -> io::Result<(u64, u64)> {
    read(&fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::other("/proc/meminfo does not say how much memory there is"))
}

fn read(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn no_more_is_held_than_the_limit_the_room_and_the_machine_allow() {
        assert_eq!(share(50, 64 * MIB, None, 1000 * MIB), 32 * MIB);
        assert_eq!(share(100, 64 * MIB, Some(40 * MIB), 1000 * MIB), 40 * MIB);
        assert_eq!(share(100, u64::MAX, None, 100 * MIB), 90 * MIB);
        assert_eq!(share(100, 64 * MIB, None, 0), 0);
    }

    #[test]
    fn reads_the_machine_s_memory() {
        let text = "MemTotal:       16 kB\nMemFree:  1 kB\nMemAvailable:  8 kB\n";
        assert_eq!(read(text), Some((16 * 1024, 8 * 1024)));
        assert_eq!(read("MemTotal: 16 kB\n"), None);
    }

    #[test]
    fn what_is_asked_for_is_held_unless_it_is_over() {
        let (_ours, socket) = bowline_plumbing::fd_message::pair().expect("sockets");
        let mut watch = Watch { deadline: Instant::now() + Duration::from_secs(3600), socket };
        let mut memory = hold(5 * MIB, &watch).expect("memory");
        assert_eq!(memory.bytes() as u64, 5 * MIB);
        memory.remaining = PAGE;
        crate::stress::Held::touch(&mut memory, &watch);
        assert_eq!(memory.bytes() as u64, 5 * MIB + PAGE as u64);
        watch.deadline = Instant::now();
        assert_eq!(hold(5 * MIB, &watch).expect("memory").bytes(), 0);
    }
}
