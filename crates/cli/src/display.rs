//! Tables and progress on a terminal.

use std::{fmt, io::IsTerminal};

use comfy_table::{ContentArrangement, presets};

/// A table without lines, its columns as wide as the terminal allows.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these column titles.
    pub(crate) fn new<const N: usize>(titles: [&str; N]) -> Self {
        Self::of(titles.to_vec())
    }

    /// The same, where how many columns there are is not known before.
    pub(crate) fn of(titles: Vec<&str>) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(titles);
        Self(table)
    }

    /// At most so many columns of characters wide: what is longer goes on in the next line.
    pub(crate) fn within(mut self, width: Option<u16>) -> Self {
        if let Some(width) = width {
            self.0.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        self
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.push(cells.to_vec());
    }

    /// Adds a row of as many cells as there are titles.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        self.0.add_row(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            // The first column's padding; what else is empty before is where a row goes on.
            writeln!(f, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        Ok(())
    }
}

pub(crate) use bowline_plumbing::text::printable;

/// As [`printable`], of what is written in lines: a tab may stay.
pub(crate) fn printable_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// How text stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// All is well.
    Green,
    /// Something to know.
    Yellow,
    /// Something to do.
    Red,
}

/// Text in a colour; as it is where standard output is no terminal, or colours are not wanted (`NO_COLOR`).
pub(crate) fn coloured(text: &str, colour: Colour) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if !wanted {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Columns and lines of the terminal that standard output is; `None` where it is none.
pub(crate) fn terminal() -> Option<(u16, u16)> {
    let (width, height) = terminal_size::terminal_size_of(std::io::stdout())?;
    (width.0 > 0 && height.0 > 0).then_some((width.0, height.0))
}
