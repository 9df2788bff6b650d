//! `bowline top`: how services fare, live.
//!
//! On a terminal each table takes the place of the one before, on a screen of its own that is gone at the end;
//! elsewhere they follow one another, with an empty line between.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};

use super::stat::{self, Question};
use crate::{
    display,
    measured::stat::{By, StatRow, table},
    output::OutputFormat,
};

/// Arguments of `bowline top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    question: Question,
    /// What a row is of.
    #[arg(long, default_value = "service")]
    by: By,
    /// Time between two tables, in seconds.
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// End after so many tables; default: at Ctrl-C.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Asks a running Bowline again and again.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = args.question.connect().await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut ticks = tokio::time::interval(Duration::from_secs(args.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let on_screen = args.question.output == OutputFormat::Text && display::terminal().is_some();
    let mut screen = None;
    let mut shown = 0;
    while args.count.is_none_or(|count| shown < count) {
        let rows = tokio::select! {
            rows = async {
                ticks.tick().await;
                stat::ask(&mut client, &args.question, args.by).await
            } => rows?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        // Not before there is something to show: what is wrong is said on the ordinary screen.
        if on_screen && screen.is_none() {
            screen = Some(Screen::open()?);
        }
        let written = match &screen {
            Some(screen) => screen.show(&page(&args, &rows)),
            None => follow(&args, &rows, shown == 0),
        };
        match written {
            // Who read, as `head` does, has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        shown += 1;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the next table, or a line of JSON, after the others.
fn follow(args: &Args, rows: &[StatRow], is_first: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.question.output {
        OutputFormat::Json => writeln!(out, "{}", serde_json::to_string(rows)?)?,
        OutputFormat::Text => {
            let separator = if is_first { "" } else { "\n" };
            write!(out, "{separator}{}", table(rows, args.by, None))?;
        }
    }
    out.flush()
}

/// What is to be on the screen.
fn page(args: &Args, rows: &[StatRow]) -> String {
    let (width, height) = display::terminal().unwrap_or((80, 24));
    let title = format!("bowline top: the last {} s; Ctrl-C ends it", args.question.window.as_secs());
    let text = format!("{title}\n\n{}", table(rows, args.by, Some(width)));
    cut(&text, width, height)
}

/// The first lines, as many as there is room for; where there are more, the last one says how many.
fn cut(text: &str, width: u16, height: u16) -> String {
    let (width, height) = (usize::from(width), usize::from(height));
    let lines: Vec<&str> = text.lines().collect();
    let fits = if lines.len() <= height { lines.len() } else { height.saturating_sub(1) };
    let mut shown: Vec<String> =
        lines[..fits].iter().map(|line| line.chars().take(width).collect()).collect();
    if fits < lines.len() {
        shown.push(format!("… {} more lines", lines.len() - fits).chars().take(width).collect());
    }
    shown.join("\n")
}

/// The terminal's other screen, for as long as this lives.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        let mut out = io::stdout().lock();
        // The alternate screen, without a cursor (xterm's private modes 1049 and 25).
        write!(out, "\u{1b}[?1049h\u{1b}[?25l")?;
        out.flush()?;
        Ok(Self)
    }

    /// Writes over what is there, so that nothing flickers.
    fn show(&self, page: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        // To the upper left; after each line what was longer goes, and after the last one what was below.
        let page = page.replace('\n', "\u{1b}[K\r\n");
        write!(out, "\u{1b}[H{page}\u{1b}[K\u{1b}[J")?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // Where the terminal is gone there is nothing to give back.
        let _ = write!(out, "\u{1b}[?25h\u{1b}[?1049l").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_page_fits_the_screen() {
        assert_eq!(cut("one\ntwo\nthree", 80, 3), "one\ntwo\nthree");
        assert_eq!(cut("one\ntwo\nthree\nfour", 80, 3), "one\ntwo\n… 2 more lines");
        assert_eq!(cut("√√√√ long\nb", 4, 5), "√√√√\nb");
        assert_eq!(cut("one\ntwo", 3, 1), "… 2");
    }
}
