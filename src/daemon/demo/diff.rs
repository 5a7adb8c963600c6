//! What changed between two texts, line by line, for people to read.

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Only in the text before.
    Gone(&'a str),
    /// Only in the text after.
    New(&'a str),
    /// In both, beside something that changed.
    Kept(&'a str),
}

/// The lines that differ between `before` and `after`, each with the `context` unchanged lines around it.
/// Quadratic in the number of lines, which for the demo's file is a few dozen.
pub(super) fn lines<'a>(before: &'a str, after: &'a str, context: usize) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let all = walk(&old, &new, &lengths(&old, &new));
    let changed: Vec<usize> =
        all.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Kept(_))).map(|(at, _)| at).collect();
    let near = |at: usize| changed.iter().any(|change| change.abs_diff(at) <= context);
    all.into_iter().enumerate().filter(|(at, _)| near(*at)).map(|(_, line)| line).collect()
}

/// The longest common subsequence's length for every pair of suffixes, row by row.
fn lengths(old: &[&str], new: &[&str]) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; new.len() + 1]];
    for left in old.iter().rev() {
        let below = table.last().cloned().unwrap_or_default();
        let mut row = vec![0; new.len() + 1];
        for (at, right) in new.iter().enumerate().rev() {
            let length = if left == right {
                cell(&below, at + 1) + 1
            } else {
                cell(&below, at).max(cell(&row, at + 1))
            };
            if let Some(place) = row.get_mut(at) {
                *place = length;
            }
        }
        table.push(row);
    }
    table.reverse();
    table
}

fn cell(row: &[usize], at: usize) -> usize {
    row.get(at).copied().unwrap_or(0)
}

fn walk<'a>(old: &[&'a str], new: &[&'a str], lengths: &[Vec<usize>]) -> Vec<Line<'a>> {
    let length = |row: usize, at: usize| lengths.get(row).map_or(0, |row| cell(row, at));
    let (mut row, mut at, mut out) = (0, 0, Vec::new());
    loop {
        match (old.get(row), new.get(at)) {
            (None, None) => return out,
            (Some(left), Some(right)) if left == right => {
                out.push(Line::Kept(left));
                row += 1;
                at += 1;
            }
            (Some(left), right) if right.is_none() || length(row + 1, at) >= length(row, at + 1) => {
                out.push(Line::Gone(left));
                row += 1;
            }
            (_, Some(right)) => {
                out.push(Line::New(right));
                at += 1;
            }
            (Some(left), None) => {
                out.push(Line::Gone(left));
                row += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_line_shows_with_its_neighbours() {
        let shown = lines("a\nb\nc\nd\ne", "a\nb\nd\ne", 1);
        assert_eq!(shown, [Line::Kept("b"), Line::Gone("c"), Line::Kept("d")]);
    }

    #[test]
    fn a_changed_line_goes_before_it_comes() {
        assert_eq!(lines("x\ny", "x\nz", 0), [Line::Gone("y"), Line::New("z")]);
        assert_eq!(lines("", "n", 3), [Line::New("n")]);
        assert_eq!(lines("same", "same", 3), []);
    }
}
