//! Turns counts into signals and signals into one order of files and of the pieces in them. Pure.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::past::Past;
use super::scan::{Counts, Scanned};
use super::symptom::{Frame, Symptom};

/// BM25: how soon more of the same term adds nothing, and how much a long text is taken for long.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// What one thing is worth beside the next weaker one of its kind.
const FRAME_DECAY: f64 = 0.8;
/// Files a path of a stack trace may mean before it says nothing.
const MEANINGS_MAX: usize = 6;

/// What speaks for a file, each from 0 to 1 where 1 is the most any file has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Signals {
    /// Its words, by BM25.
    pub text: f64,
    /// Words of the description that stand together in both, by BM25.
    pub pairs: f64,
    /// Its best piece.
    pub piece: f64,
    /// The names it defines.
    pub names: f64,
    /// The words of its path.
    pub place: f64,
    /// The names of the description that it defines.
    pub defines: f64,
    /// Lines of a stack trace.
    pub frames: f64,
    /// Quoted messages that it holds.
    pub quotes: f64,
    /// The words of commits that changed it.
    pub subjects: f64,
    /// The commits most like the description that changed it.
    pub similar: f64,
    /// How lately it changed.
    pub recent: f64,
}

/// How many kinds of signals there are.
pub const SIGNALS: usize = 11;

/// What each signal is worth, in the order of the fields: fitted by a listwise logistic loss to the fixes of 23 repositories,
/// which hardly ever quote a message or a stack trace. What those two are worth is set by hand: they name the place itself.
const WEIGHTS: [f64; SIGNALS] = [2.1, 1.9, 1.7, 1.4, 1.5, 0.8, 4.0, 2.0, 1.4, 0.7, 0.7];

impl Signals {
    /// The numbers in the order of the fields.
    pub fn values(&self) -> [f64; SIGNALS] {
        [
            self.text,
            self.pairs,
            self.piece,
            self.names,
            self.place,
            self.defines,
            self.frames,
            self.quotes,
            self.subjects,
            self.similar,
            self.recent,
        ]
    }

    fn of(values: [f64; SIGNALS]) -> Self {
        let [
            text,
            pairs,
            piece,
            names,
            place,
            defines,
            frames,
            quotes,
            subjects,
            similar,
            recent,
        ] = values;
        Self {
            text,
            pairs,
            piece,
            names,
            place,
            defines,
            frames,
            quotes,
            subjects,
            similar,
            recent,
        }
    }

    /// What they are worth together.
    pub fn score(&self) -> f64 {
        self.values()
            .iter()
            .zip(WEIGHTS)
            .map(|(value, weight)| value * weight)
            .sum()
    }
}

/// BM25 of each text for things of given weights; `counted` tells how often a text holds each.
pub fn bm25<'c>(
    texts: &[&'c Counts],
    weights: &[f64],
    counted: impl Fn(&'c Counts) -> &'c HashMap<usize, u32>,
) -> Vec<f64> {
    let worth = rarity(texts, weights, &counted);
    let mean = texts.iter().map(|text| f64::from(text.length)).sum::<f64>() / texts.len().max(1) as f64;
    let score = |text: &&'c Counts| -> f64 {
        let norm = K1 * (1.0 - B + B * f64::from(text.length) / mean.max(1.0));
        let found = counted(text);
        // In the order of the terms, so that the sum is the same each time.
        let each = worth
            .iter()
            .enumerate()
            .filter_map(|(index, worth)| Some((worth, f64::from(*found.get(&index)?))));
        each.map(|(worth, count)| worth * count * (K1 + 1.0) / (count + norm))
            .sum()
    };
    texts.iter().map(score).collect()
}

/// How rare each thing is, times its weight.
fn rarity<'c>(
    texts: &[&'c Counts],
    weights: &[f64],
    counted: impl Fn(&'c Counts) -> &'c HashMap<usize, u32>,
) -> Vec<f64> {
    let total = texts.len() as f64;
    let of = |index: usize| {
        let holding = texts.iter().filter(|text| counted(text).contains_key(&index)).count() as f64;
        (1.0 + (total - holding + 0.5) / (holding + 0.5)).ln()
    };
    weights
        .iter()
        .enumerate()
        .map(|(index, weight)| weight * of(index))
        .collect()
}

/// A file with what speaks for it, and what its pieces are worth.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Its position among the scanned files.
    pub file: usize,
    /// What speaks for it.
    pub signals: Signals,
    /// What they are worth together.
    pub score: f64,
    /// Its pieces by their position, best first.
    pub pieces: Vec<(usize, f64)>,
}

/// All files, likeliest first.
pub fn rank(scanned: &[Scanned], symptom: &Symptom, past: &HashMap<String, Past>) -> Vec<Scored> {
    let bodies: Vec<&Counts> = scanned.iter().map(|file| &file.body).collect();
    let names: Vec<&Counts> = scanned.iter().map(|file| &file.names).collect();
    let places: Vec<&Counts> = scanned.iter().map(|file| &file.place).collect();
    let pieces = pieces(scanned, symptom);
    let joined: Vec<Counts> = scanned
        .iter()
        .map(|file| {
            let mut counts = file.body.clone();
            counts.add(&file.place);
            counts
        })
        .collect();
    let whole: Vec<&Counts> = joined.iter().collect();
    let frames = frames(scanned, symptom);
    let past = |take: fn(&Past) -> f64| -> Vec<f64> {
        scanned
            .iter()
            .map(|file| past.get(&file.path).map_or(0.0, take))
            .collect()
    };
    let weights = symptom.term_weights();
    let alike = vec![1.0; weights.len()];
    let columns: [Vec<f64>; SIGNALS] = [
        bm25(&whole, &alike, |counts| &counts.exact),
        bm25(&bodies, &symptom.pair_weights(), |counts| &counts.pairs),
        pieces
            .iter()
            .map(|of| of.first().map_or(0.0, |(_, score)| *score))
            .collect(),
        bm25(&names, &weights, |counts| &counts.exact),
        bm25(&places, &weights, |counts| &counts.exact),
        shared(
            scanned.iter().map(|file| file.defines.clone()).collect(),
            symptom.names.len(),
        ),
        frames,
        shared(
            scanned
                .iter()
                .map(|file| file.quotes.iter().map(|(quote, _)| *quote).collect())
                .collect(),
            symptom.quotes.len(),
        ),
        past(|past| past.subjects),
        past(|past| past.similar),
        past(|past| past.recent),
    ];
    let most: Vec<f64> = columns
        .iter()
        .map(|column| column.iter().copied().fold(f64::EPSILON, f64::max))
        .collect();
    let mut scored: Vec<Scored> = pieces
        .into_iter()
        .enumerate()
        .map(|(file, pieces)| {
            let values = std::array::from_fn(|column| columns[column][file] / most[column]);
            let signals = Signals::of(values);
            Scored {
                file,
                signals,
                score: signals.score(),
                pieces,
            }
        })
        .collect();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.file.cmp(&b.file)));
    scored
}

/// BM25 of the pieces that are no tests, best first, by file.
fn pieces(scanned: &[Scanned], symptom: &Symptom) -> Vec<Vec<(usize, f64)>> {
    let all: Vec<(usize, usize)> = scanned
        .iter()
        .enumerate()
        .flat_map(|(file, scanned)| (0..scanned.pieces.len()).map(move |piece| (file, piece)))
        .filter(|(file, piece)| !scanned[*file].pieces[*piece].test)
        .collect();
    // A piece is read in its place: what the path says of it needs not stand in it.
    let placed: Vec<Counts> = all
        .iter()
        .map(|(file, piece)| {
            let mut counts = scanned[*file].pieces[*piece].counts.clone();
            counts.add(&scanned[*file].place);
            counts
        })
        .collect();
    let counts: Vec<&Counts> = placed.iter().collect();
    let mut out = vec![Vec::new(); scanned.len()];
    for ((file, piece), score) in all
        .iter()
        .zip(bm25(&counts, &symptom.term_weights(), |counts| &counts.exact))
    {
        out[*file].push((*piece, score));
    }
    let best = out.iter().flatten().map(|(_, score)| *score).fold(1.0, f64::max);
    for (file, pieces) in scanned.iter().zip(&mut out) {
        for (piece, score) in pieces.iter_mut() {
            *score += best * certainty(file, *piece, symptom);
        }
        pieces.sort_by(|a: &(usize, f64), b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    out
}

/// What speaks for a piece beside its words: a line of a stack trace, a message that it holds, a name that it bears.
fn certainty(file: &Scanned, piece: usize, symptom: &Symptom) -> f64 {
    let piece = &file.pieces[piece];
    let within = |line: u32| (piece.line..=piece.end_line).contains(&line);
    let framed = symptom.frames.iter().any(|frame| {
        let named = frame.path.rsplit('/').next();
        within(frame.line) && file.path.rsplit('/').next() == named
    });
    let quoted = file.quotes.iter().any(|(_, line)| within(*line));
    let last = piece.name.rsplit(['.', ':']).next().unwrap_or_default();
    let named = symptom.names.iter().any(|name| name == last);
    [(framed, 1.0), (quoted, 0.7), (named, 0.5)]
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, worth)| worth)
        .sum()
}

/// What each file has of things that several may have: the more files have one, the less it says of each.
fn shared(has: Vec<Vec<usize>>, things: usize) -> Vec<f64> {
    let mut holders = vec![0_usize; things];
    for thing in has.iter().flatten() {
        holders[*thing] += 1;
    }
    let worth = |things: Vec<usize>| things.iter().map(|thing| 1.0 / holders[*thing] as f64).sum();
    has.into_iter().map(worth).collect()
}

/// What stack traces say of each file: the innermost line of the workspace says most.
fn frames(scanned: &[Scanned], symptom: &Symptom) -> Vec<f64> {
    let mut out = vec![0.0; scanned.len()];
    let mut worth = 1.0;
    let mut ordered: Vec<&Frame> = symptom.frames.iter().collect();
    if symptom.innermost_last {
        ordered.reverse();
    }
    for frame in ordered {
        let meant = meant(scanned.iter().map(|file| file.path.as_str()), &frame.path);
        if (1..=MEANINGS_MAX).contains(&meant.len()) {
            for file in &meant {
                out[*file] = f64::max(out[*file], worth / (meant.len() as f64).sqrt());
            }
            worth *= FRAME_DECAY;
        }
    }
    out
}

/// The positions of the files whose paths end in most parts like the one that is named.
fn meant<'p>(paths: impl Iterator<Item = &'p str>, named: &str) -> Vec<usize> {
    let common = |path: &str| {
        let parts = path.rsplit('/').zip(named.rsplit('/'));
        parts.take_while(|(a, b)| a == b).count()
    };
    let all: Vec<usize> = paths.map(common).collect();
    let most = all.iter().copied().max().unwrap_or(0);
    let is_meant = |(_, parts): &(usize, &usize)| most > 0 && **parts == most;
    all.iter().enumerate().filter(is_meant).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_another_machine_means_the_file_whose_end_it_shares() {
        let paths = ["src/http.rs", "crates/a/src/lib.rs", "crates/b/src/lib.rs"];
        for (named, expected) in [
            ("/home/me/crates/b/src/lib.rs", &[2][..]),
            ("lib.rs", &[1, 2]),
            ("http.rs", &[0]),
            ("nothing.rs", &[]),
        ] {
            assert_eq!(meant(paths.into_iter(), named), expected, "{named}");
        }
    }

    #[test]
    fn what_many_files_have_says_less_of_each() {
        assert_eq!(shared(vec![vec![0, 1], vec![0], vec![]], 2), [1.5, 0.5, 0.0]);
    }
}
