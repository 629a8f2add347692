//! Where a function can be split: at the blank lines and remarks by which its author set its parts apart.

use axon_tools::FileText;
use axon_tools::code::FunctionMetrics;

/// Lines a part of a function must have to be shown.
const SEAM_LINES_MIN: u32 = 5;

/// A part of a function that its author set apart.
pub struct Seam {
    first: u32,
    last: u32,
    remark: String,
}

impl Seam {
    /// Its lines, and the remark that begins it.
    pub fn shown(&self) -> String {
        if self.remark.is_empty() {
            format!("lines {} to {}", self.first, self.last)
        } else {
            format!("lines {} to {} (“{}”)", self.first, self.last, self.remark)
        }
    }
}

/// The parts that blank lines and comments of the outermost level divide a function into, the longest three in order.
pub fn seams(text: &FileText, function: &FunctionMetrics) -> Vec<Seam> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let body: Vec<(u32, &str)> = (function.line + 1..function.end_line)
        .map_while(|line| Some((line, text.line(line)?)))
        .collect();
    let Some(outer) = body
        .iter()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(_, line)| indent(line))
        .min()
    else {
        return Vec::new();
    };
    let remark = |line: &str| {
        let trimmed = line.trim();
        let mark = ["// ", "# "].iter().find_map(|mark| trimmed.strip_prefix(mark))?;
        (indent(line) == outer).then(|| mark.chars().take(60).collect::<String>())
    };
    let mut seams: Vec<Seam> = Vec::new();
    let mut open = true;
    for (number, line) in body {
        if line.trim().is_empty() {
            open = true;
            continue;
        }
        let said = remark(line);
        if indent(line) == outer
            && (open
                || said.is_some()
                    && seams
                        .last()
                        .is_none_or(|seam| seam.last + 1 < number || seam.remark.is_empty()))
        {
            seams.push(Seam {
                first: number,
                last: number,
                remark: said.unwrap_or_default(),
            });
        } else if let Some(seam) = seams.last_mut() {
            seam.last = number;
        }
        open = false;
    }
    seams.retain(|seam| seam.last - seam.first + 1 >= SEAM_LINES_MIN);
    if seams.len() < 2 {
        return Vec::new();
    }
    seams.sort_by_key(|seam| (std::cmp::Reverse(seam.last - seam.first), seam.first));
    seams.truncate(3);
    seams.sort_by_key(|seam| seam.first);
    seams
}
