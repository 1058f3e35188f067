//! What is shown while the service runs: a table that is redrawn in place on a terminal, lines on changes elsewhere.

#![allow(clippy::print_stdout, reason = "this is the command's output")]

use std::io::{IsTerminal as _, Write as _};

use crossterm::cursor::MoveToPreviousLine;
use crossterm::terminal::{Clear, ClearType};

use super::table::{self, Row};

/// Width that is assumed when the terminal does not tell.
const WIDTH: u16 = 80;

/// The screen.
#[derive(Debug)]
pub(crate) struct Screen {
    is_terminal: bool,
    /// Lines of the table that stand at the end of the screen.
    drawn: u16,
    /// State of each process as last told.
    told: Vec<String>,
}

impl Screen {
    /// Standard output.
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), drawn: 0, told: Vec::new() }
    }

    /// Prints text that stays, above the table.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Shows the processes. Without a terminal only what changed is told.
    pub(crate) fn show(&mut self, rows: &[Row]) {
        if self.is_terminal {
            let (width, height) = crossterm::terminal::size().unwrap_or((WIDTH, u16::MAX));
            let mut lines = table::render(rows, usize::from(width.max(1)));
            // Lines that have left the screen cannot be redrawn.
            lines.truncate(usize::from(height.saturating_sub(1)));
            self.clear();
            for line in &lines {
                println!("{line}");
            }
            self.drawn = lines.len() as u16;
            return;
        }
        self.told.resize(rows.len(), String::new());
        for (row, told) in rows.iter().zip(&mut self.told) {
            // Progress would be a line every moment.
            let state = table::state(row);
            let phase = state.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '%' | ' '));
            if phase != told.as_str() {
                println!("{}: {state}", row.name);
                phase.clone_into(told);
            }
        }
    }

    /// Takes the table off the screen, to leave it as text above.
    pub(crate) fn clear(&mut self) {
        if self.drawn > 0 {
            let mut out = std::io::stdout();
            // A terminal that is gone shows nothing anyway.
            let _ = crossterm::queue!(out, MoveToPreviousLine(self.drawn), Clear(ClearType::FromCursorDown));
            let _ = out.flush();
            self.drawn = 0;
        }
    }
}
