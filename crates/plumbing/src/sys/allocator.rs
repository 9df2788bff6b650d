//! The allocator: the C library's, before which a thread that asks for it keeps what it frees.
//!
//! glibc's own cache has room for seven blocks of a size. A worker with hundreds of requests under way
//! allocates and frees the same sizes in long runs, so that most of its calls went past that cache, and cost
//! an eighth of a request.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    marker::PhantomData,
    ptr::null_mut,
};

/// Small sizes are told apart by steps of so many bytes, as glibc does.
const STEP: usize = 16;
/// What glibc's smallest block has room for. The others have steps more: so what is rounded up takes no more
/// than it would have.
const SMALLEST: usize = 24;
const SMALL_MAX: usize = 4_096 + 8;
const SMALL_CLASSES: usize = (SMALL_MAX - SMALLEST) / STEP + 1;
/// Larger ones, among them records of TLS and what is read ahead, have so many classes to each doubling.
const TO_A_DOUBLING: usize = 8;
/// The logarithm of the greatest of the first of them.
const FIRST_DOUBLING: usize = 13;
/// Blocks that are larger are not kept.
const KEPT_MAX: usize = 64 * 1_024;
const CLASSES: usize = SMALL_CLASSES + 4 * TO_A_DOUBLING;
/// Most bytes that one thread keeps.
const BYTES_MAX: usize = 2 << 20;

thread_local! {
    // No destructor and no lazy beginning: the allocator may be called at any time of a thread's life.
    static CACHE: Cell<*mut Cache> = const { Cell::new(null_mut()) };
}

/// The process's allocator, to be named in its `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// What this thread frees is kept for it until this is dropped.
#[derive(Debug)]
pub struct Keeping(PhantomData<*mut ()>);

/// The freed blocks that a thread keeps.
struct Cache {
    lists: [List; CLASSES],
    bytes: usize,
}

/// Those of one size. A block's first word is the next one's address.
#[derive(Clone, Copy)]
struct List {
    first: *mut u8,
    length: u32,
    /// The least that the list has held since the last look: so many nobody has needed.
    unused: u32,
}

/// Which size a request is served by. `None`: it is none of those that are kept.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if layout.align() > STEP || size > KEPT_MAX {
        return None;
    }
    if size <= SMALL_MAX {
        return Some(size.saturating_sub(SMALLEST).div_ceil(STEP));
    }
    let doubling = (size - 1).ilog2() as usize + 1;
    let eighth = (size - 1) >> (doubling - 4);
    Some(SMALL_CLASSES + (doubling - FIRST_DOUBLING) * TO_A_DOUBLING + eighth - TO_A_DOUBLING)
}

/// Bytes that every block of a class has.
#[inline]
fn bytes_of(class: usize) -> usize {
    match class.checked_sub(SMALL_CLASSES) {
        None => class * STEP + SMALLEST,
        Some(large) => {
            (large % TO_A_DOUBLING + TO_A_DOUBLING + 1) << (large / TO_A_DOUBLING + FIRST_DOUBLING - 4)
        }
    }
}

/// What glibc is asked for: the same for all requests of a class.
#[inline]
fn layout_of(class: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the size far from overflowing.
    unsafe { Layout::from_size_align_unchecked(bytes_of(class), STEP) }
}

impl Cache {
    #[inline]
    fn take(&mut self, class: usize) -> *mut u8 {
        let list = &mut self.lists[class];
        let block = list.first;
        if !block.is_null() {
            // SAFETY: a block of the list is this cache's alone, and `keep` has written its first word.
            list.first = unsafe { block.cast::<*mut u8>().read() };
            list.length -= 1;
            list.unused = list.unused.min(list.length);
            self.bytes -= bytes_of(class);
        }
        block
    }

    /// Whether there is room for the block, which is the cache's then.
    ///
    /// # Safety
    /// The block is of that class, and nobody's.
    #[inline]
    unsafe fn keep(&mut self, class: usize, block: *mut u8) -> bool {
        let bytes = bytes_of(class);
        if self.bytes + bytes > BYTES_MAX {
            return false;
        }
        let list = &mut self.lists[class];
        // SAFETY: the smallest block has room for a word, and all are aligned for one.
        unsafe { block.cast::<*mut u8>().write(list.first) };
        list.first = block;
        list.length += 1;
        self.bytes += bytes;
        true
    }

    /// Gives the C library blocks: those that have not been needed since this was last done, or all.
    fn give_back(&mut self, all: bool) {
        for class in 0..CLASSES {
            let List { length, unused, .. } = self.lists[class];
            for _ in 0..if all { length } else { unused } {
                let block = self.take(class);
                // SAFETY: the block is of this layout, and nobody's since it was taken off its list.
                unsafe { System.dealloc(block, layout_of(class)) };
            }
            self.lists[class].unused = self.lists[class].length;
        }
    }
}

// SAFETY: every block is the system allocator's. One of a class was asked for with the class's layout, which
// any layout of the class fits in, and goes back with it; all others pass through. `class_of` says the same
// of a layout each time. Who was given a block off a list is its only owner until it is freed: lists are of
// one thread, and nothing here allocates, unwinds or calls back.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: the pointer is null, or to the cache of this thread, which nobody else refers to.
        if let Some(cache) = unsafe { CACHE.get().as_mut() } {
            let block = cache.take(class);
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the layout's size is not zero.
        unsafe { System.alloc(layout_of(class)) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(block, layout) };
        };
        // SAFETY: as in `alloc`.
        if let Some(cache) = unsafe { CACHE.get().as_mut() } {
            // SAFETY: the block is the caller's to give away, and has the class of its layout.
            if unsafe { cache.keep(class, block) } {
                return;
            }
        }
        // SAFETY: a block of this class was allocated with this layout.
        unsafe { System.dealloc(block, layout_of(class)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = class_of(layout).map_or(layout, layout_of);
        // SAFETY: the caller's promise, or a layout whose size is not zero.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let (before, after) = (class_of(layout), class_of(wanted));
        if before.is_some() && before == after {
            return block;
        }
        let layout = before.map_or(layout, layout_of);
        let size = after.map_or(new_size, |class| layout_of(class).size());
        // SAFETY: the block was allocated with this layout, and the size is not zero. Alignment does not
        // change: none beyond the step's has a class, and up to that all blocks have the step's.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Gives the C library what this thread keeps and has not needed since this was last called.
pub fn give_back_unused() {
    // SAFETY: as in `alloc`: nothing of the thread's refers to it between two calls of the allocator.
    if let Some(cache) = unsafe { CACHE.get().as_mut() } {
        cache.give_back(false);
    }
}

impl Keeping {
    /// Has this thread keep what it frees. `None`: it does already.
    #[must_use = "it ends when this is dropped"]
    pub fn begin() -> Option<Self> {
        if !CACHE.get().is_null() {
            return None;
        }
        let empty = List { first: null_mut(), length: 0, unused: 0 };
        let cache = Box::new(Cache { lists: [empty; CLASSES], bytes: 0 });
        CACHE.set(Box::into_raw(cache));
        Some(Self(PhantomData))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let cache = CACHE.replace(null_mut());
        if cache.is_null() {
            return;
        }
        // SAFETY: it came from a box, on this thread, and nobody has it any more.
        let mut cache = unsafe { Box::from_raw(cache) };
        cache.give_back(true);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    fn kept() -> usize {
        // SAFETY: as in `alloc`.
        unsafe { CACHE.get().as_ref() }.map_or(0, |cache| cache.bytes)
    }

    #[test]
    fn a_class_has_room_for_all_of_its_sizes_and_takes_hardly_more_of_glibc() {
        // malloc.c, request2size: a block has a word before it, and at least 24 bytes.
        let of_glibc = |size: usize| (size + 8).next_multiple_of(16).max(32);
        let mut before = 0;
        for size in 1..=KEPT_MAX {
            let class = class_of(layout(size, 8)).expect("a class");
            assert!(class < CLASSES && (class == before || class == before + 1), "{size}");
            let bytes = layout_of(class).size();
            assert!(bytes >= size.max(8), "{size}: {bytes}");
            match size <= SMALL_MAX {
                true => assert_eq!(of_glibc(bytes), of_glibc(size), "{size}"),
                false => assert!(bytes <= size + size / 8, "{size}: {bytes}"),
            }
            before = class;
        }
        assert_eq!((before, bytes_of(before)), (CLASSES - 1, KEPT_MAX));
        assert_eq!(class_of(layout(KEPT_MAX + 1, 8)), None);
        assert_eq!(class_of(layout(8, 32)), None);
    }

    #[test]
    fn what_was_freed_is_there_again_and_what_nobody_needs_goes_back() {
        let _keeping = Keeping::begin().expect("the first");
        assert!(Keeping::begin().is_none());
        let wanted = layout(100, 8);
        // SAFETY: each block is freed once, with the layout that it was allocated with.
        unsafe {
            let blocks: Vec<*mut u8> = (0..20).map(|_| Allocator.alloc(wanted)).collect();
            for block in &blocks {
                Allocator.dealloc(*block, wanted);
            }
            assert_eq!(kept(), 20 * 104);
            let again = Allocator.alloc(layout(97, 1));
            assert_eq!(again, blocks[19], "of the same class, and the last one freed");
            Allocator.dealloc(again, layout(97, 1));
            give_back_unused();
            assert_eq!(kept(), 20 * 104, "it has just come");
            let taken: Vec<*mut u8> = (0..5).map(|_| Allocator.alloc(wanted)).collect();
            for block in taken {
                Allocator.dealloc(block, wanted);
            }
            give_back_unused();
            assert_eq!(kept(), 5 * 104);
            give_back_unused();
            assert_eq!(kept(), 0);
        }
    }

    #[test]
    fn no_more_is_kept_than_so_much_and_nothing_afterwards() {
        let keeping = Keeping::begin().expect("the first");
        let wanted = layout(4_000, 8);
        // SAFETY: as above.
        unsafe {
            let blocks: Vec<*mut u8> = (0..700).map(|_| Allocator.alloc(wanted)).collect();
            for block in blocks {
                Allocator.dealloc(block, wanted);
            }
            assert!(kept() <= BYTES_MAX && kept() > BYTES_MAX - 4_096, "{}", kept());
            drop(keeping);
            assert_eq!(kept(), 0);
            Allocator.dealloc(Allocator.alloc(wanted), wanted);
            assert_eq!(kept(), 0);
        }
    }

    /// What is done with one of a few blocks.
    #[derive(Clone, Debug)]
    enum Step {
        Allocate(usize, u32, bool),
        Resize(usize),
        Free,
    }

    fn step() -> impl Strategy<Value = Step> {
        let size =
            || prop_oneof![1..200_usize, 1..9_000_usize, 4_080..4_120_usize, KEPT_MAX - 20..KEPT_MAX + 20];
        prop_oneof![
            3 => (size(), 0..7_u32, any::<bool>())
                .prop_map(|(size, align, zeroed)| Step::Allocate(size, align, zeroed)),
            2 => size().prop_map(Step::Resize),
            2 => Just(Step::Free),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_never_overlap_and_keep_what_is_in_them(
            steps in prop::collection::vec((0..16_usize, step()), 1..400),
        ) {
            let _keeping = Keeping::begin();
            let mut blocks: [Option<(*mut u8, Layout, u8)>; 16] = [None; 16];
            let check = |block: *mut u8, size: usize, mark: u8| {
                // SAFETY: the block has that many bytes, all written.
                unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|byte| *byte == mark)
            };
            for (number, (at, step)) in steps.into_iter().enumerate() {
                let mark = number as u8;
                match (step, blocks[at].take()) {
                    (Step::Allocate(size, align, zeroed), None) => {
                        let wanted = layout(size, 1 << align);
                        // SAFETY: the size is not zero; the block has it.
                        unsafe {
                            let block = match zeroed {
                                true => Allocator.alloc_zeroed(wanted),
                                false => Allocator.alloc(wanted),
                            };
                            prop_assert!(!block.is_null() && block.addr().is_multiple_of(wanted.align()));
                            prop_assert!(!zeroed || check(block, size, 0));
                            block.write_bytes(mark, size);
                            blocks[at] = Some((block, wanted, mark));
                        }
                    }
                    (Step::Resize(size), Some((block, before, old))) => {
                        prop_assert!(check(block, before.size(), old));
                        // SAFETY: the block has that layout, and the size is not zero.
                        unsafe {
                            let block = Allocator.realloc(block, before, size);
                            prop_assert!(!block.is_null() && block.addr().is_multiple_of(before.align()));
                            prop_assert!(check(block, size.min(before.size()), old));
                            block.write_bytes(mark, size);
                            blocks[at] = Some((block, layout(size, before.align()), mark));
                        }
                    }
                    (Step::Free, Some((block, had, old))) => {
                        prop_assert!(check(block, had.size(), old));
                        // SAFETY: the block has that layout, and is nobody's afterwards.
                        unsafe { Allocator.dealloc(block, had) };
                    }
                    (_, block) => blocks[at] = block,
                }
                if number % 50 == 49 {
                    give_back_unused();
                }
            }
            for (block, had, mark) in blocks.into_iter().flatten() {
                prop_assert!(check(block, had.size(), mark));
                // SAFETY: as above.
                unsafe { Allocator.dealloc(block, had) };
            }
        }
    }
}
