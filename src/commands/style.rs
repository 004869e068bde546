//! How the commands for people look: colours, columns, and numbers with their words. Colours are always written: the stream strips them where
//! nobody can see them.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();

/// A number and its word.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A text of a table, and how it looks.
pub(super) type Cell = (Style, String);

pub(super) fn heads(names: &[&str]) -> Vec<Cell> {
    names.iter().map(|name| (DIM, (*name).to_owned())).collect()
}

/// Columns, each as wide as its widest text.
pub(super) fn columns(out: &mut String, rows: &[Vec<Cell>]) {
    let shown: Vec<Vec<Cell>> =
        rows.iter().map(|row| row.iter().map(|(style, text)| (*style, printable(text))).collect()).collect();
    let width = |column: usize| {
        shown.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    for row in &shown {
        let last = row.iter().rposition(|(_, text)| !text.is_empty()).unwrap_or(0);
        for (index, ((style, text), width)) in row.iter().zip(&widths).enumerate().take(last + 1) {
            let padding = if index == last { 0 } else { width.saturating_sub(text.chars().count()) + 2 };
            let _ = write!(out, "{style}{text}{style:#}{:padding$}", "");
        }
        out.push('\n');
    }
}

/// Two figures at most: 45s, 3m20s, 5h10m, 4d2h.
pub(super) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// Without control characters: what an object says must not drive the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}
