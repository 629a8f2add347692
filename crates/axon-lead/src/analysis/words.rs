//! Words that carry structure in English requests, whatever they are about. No word here belongs to one field of
//! work.

use std::collections::HashSet;
use std::sync::LazyLock;

type Words = LazyLock<HashSet<&'static str>>;

/// A set of words, written as one text.
macro_rules! words {
    ($text:literal) => {
        LazyLock::new(|| $text.split_whitespace().collect())
    };
}

/// Verbs in their base form that ask for something to be done.
static VERBS: Words = words!(
    "abstract accept access adapt add adjust align allocate analyse analyze annotate answer append apply appraise \
     arrange ask assemble assess assign attach audit augment automate back balance benchmark block book bring browse \
     build bundle buy cache calculate call cancel caption capture categorise categorize change chart check choose cite \
     clarify classify clean clone close cluster collect colorize combine comment compare compile complete compose \
     compress compute conclude conduct configure confirm connect consider construct contrast convert copy correct \
     correlate count crawl create crop debug decide decode deduplicate define delete deliver demonstrate deploy derive \
     describe design detail detect determine develop diagnose diff disable discover discuss display divide do document \
     download draft draw edit elaborate eliminate email embed enable encode enhance enumerate establish estimate \
     evaluate examine execute expand explain explore export extend extract fetch figure fill filter find fix flag \
     follow forecast format forward gather generate get give grade group handle highlight identify illustrate implement \
     import improve include index infer insert inspect install integrate interpret introduce invert investigate invite \
     isolate join judge justify label learn link list load locate log look make map mark match measure merge migrate \
     mix modify monitor move name navigate normalise normalize note notify obtain open optimise optimize order organise \
     organize outline overlay paraphrase parse perform pick pinpoint plan play plot point post predict prepare present \
     print prioritise prioritize process produce profile propose prove provide publish pull push put query rank rate \
     read recognise recognize recommend record recover reduce refactor refine register relate remind remove rename \
     render reorder repair rephrase replace reply report reproduce request research reserve resize resolve restore \
     restructure retrieve return review revise rewrite rotate run save scan schedule score search segment select send \
     separate serve set share shorten show simplify sketch solve sort specify split standardise standardize start stop \
     store structure study subscribe substitute suggest summarise summarize survey synthesise synthesize tabulate tag \
     take tell test tokenize trace track transcribe transfer transform translate trim troubleshoot turn understand \
     unify update upgrade upload use validate verify view visualise visualize walk weigh work write"
);

/// Verbs that are nouns as often: between commas they count as verbs only where an object follows.
static ALSO_NOUNS: Words = words!(
    "abstract access answer back benchmark block book cache call caption change chart check clone cluster comment copy \
     count crop design detail diff display document download draft email estimate export figure filter fix flag format \
     function grade group import index install label link list load log look map mark match measure merge mix monitor \
     move name note order outline overlay plan play plot point post process produce profile publish pull push query \
     rank rate record refactor reply report request research return review run scan schedule score search segment set \
     share show sketch sort split start stop store structure study subscribe survey tag test trace track transfer \
     transform turn update upgrade upload use view walk work"
);

/// Verbs that need another one to say what is wanted.
static LIGHT: Words = words!(
    "use take run go work start make follow perform do put set get give ask apply conduct provide need want like \
     require"
);

/// Verbs that work on what an earlier step brought, where they name nothing of their own.
static CONSUMING: Words = words!(
    "annotate cite conclude convert decide deliver display email explain export fix flag forward format highlight \
     justify label notify order play plot post present print prioritise prioritize propose publish rank recommend \
     remind repair report rewrite save schedule send share show sort store suggest summarise summarize tabulate tag \
     tell upload verify visualise visualize"
);

/// Words before which an infinitive says what is wanted.
static WANTING: Words = words!(
    "able ask asked going goal have help hope hoping how like looking love me need needed order plan planning ready \
     required task try trying us want wanted wants way wish wishing wondering you interested is was then"
);

/// Words that put one step after another.
static SEQUENCE: Words = words!(
    "then next afterwards afterward subsequently later finally lastly thereafter after once secondly thirdly second \
     third"
);

/// Words that put one step beside another.
static PARALLEL: Words = words!(
    "also additionally separately independently meanwhile simultaneously besides furthermore moreover plus likewise \
     parallel addition alternatively"
);

/// Words that bring several things together.
static JOINING: Words = words!(
    "both combine combined combining merge merged merging together altogether overlay synthesise synthesize integrate \
     overall everything jointly unify reconcile correlate"
);

/// Words for what an earlier step brought.
static RESULTS: Words = words!(
    "result results output outputs outcome outcomes findings finding resulting obtained above previous former latter \
     accordingly thereby"
);

static PRONOUNS: Words = words!("it them its their they these those each");

static DETERMINERS: Words = words!(
    "the a an all any each every this that these those my our your its their it them me us some what how why where \
     which who whether if for both only one two three no between through in into on at up out"
);

static WH: Words = words!("what why how where which who when whose what's where's who's how's");

static AUXILIARY: Words = words!(
    "is are does do did was were can could should would will has have isn't aren't doesn't don't am may might must"
);

/// Words that stand before a verb without changing what is asked.
static FILLER: Words = words!(
    "please kindly just simply now and or but so also first firstly second secondly third thirdly then next finally \
     lastly afterwards afterward subsequently later additionally furthermore moreover besides meanwhile hi hello hey ok \
     okay carefully briefly quickly thoroughly separately again plus after that in addition once done i we you \
     thereafter simultaneously independently to begin start with only"
);

/// Words that carry no meaning of their own, besides those above.
static STOP: Words = words!(
    "a about above across after again against all along also although always am an and another any anything are around \
     as at away based be because been before being below best better between both but by can cannot code could do does \
     doing done down during each either else enough entire especially etc even ever every everything few first for from \
     further good had has have having he help her here him his how i i'd i'm i've if in into is isn't it it's its \
     itself kind know last less let let's like look looking lot make many may me mean might more most much must my \
     myself near need neither next no nor not now of off on once one ones only onto or other others our out over own \
     per please put quite rather really same see several she should since so some something still such sure tell \
     than that that's the their them then there there's these they thing things this those though through throughout to \
     too toward two three under until up upon us use used using very via want was way ways we well were what what's \
     when where whether which while who whole whose why will with within without would yes you your find give show \
     explain describe please whats did doesn't don't get gets got repository repo codebase project workspace file files"
);

/// Words too general to say what is to be looked at.
static GENERIC: Words = words!(
    "app application bad better broken cleaner faster nicer simpler slower slow slowly quicker broken bug bugs clean code error everything fix function good improve improvement improvements \
     issue issues job nice optimise optimize problem problems program quality refactor script software stuff system \
     thing things work working works wrong review check analyse analyze investigate debug happening going happens \
     question tests test research summarize summarise compare write fails failing"
);

/// Nouns for everything there is to look at.
static WORKSPACE: Words = words!("repository repo codebase project workspace monorepo  ");

/// Words that widen the scope.
static BREADTH: Words = words!(
    "whole entire every all across throughout everywhere everything complete full each any anywhere overall general"
);

/// Words that ask for depth.
static DEPTH: Words = words!(
    "architecture thorough thoroughly comprehensive comprehensively depth deep detailed exhaustive audit trade-offs \
     tradeoffs trade-off evaluate migrate migration root design strategy roadmap systematically systematic implications \
     assess investigate"
);

/// Verbs that look over whatever they are given.
static SURVEYING: Words = words!(
    "review audit check inspect scan examine assess analyse analyze evaluate survey search list find identify look \
     detect map compare investigate rate grade count"
);

pub(super) fn is_verb(word: &str) -> bool {
    VERBS.contains(word)
}

pub(super) fn is_also_noun(word: &str) -> bool {
    ALSO_NOUNS.contains(word)
}

pub(super) fn is_light(word: &str) -> bool {
    LIGHT.contains(word)
}

pub(super) fn is_consuming(word: &str) -> bool {
    CONSUMING.contains(word)
}

pub(super) fn is_wanting(word: &str) -> bool {
    WANTING.contains(word)
}

pub(super) fn is_sequence(word: &str) -> bool {
    SEQUENCE.contains(word)
}

pub(super) fn is_parallel(word: &str) -> bool {
    PARALLEL.contains(word)
}

pub(super) fn is_joining(word: &str) -> bool {
    JOINING.contains(word)
}

pub(super) fn is_result(word: &str) -> bool {
    RESULTS.contains(word)
}

pub(super) fn is_pronoun(word: &str) -> bool {
    PRONOUNS.contains(word)
}

pub(super) fn is_determiner(word: &str) -> bool {
    DETERMINERS.contains(word)
}

pub(super) fn is_wh(word: &str) -> bool {
    WH.contains(word)
}

pub(super) fn is_auxiliary(word: &str) -> bool {
    AUXILIARY.contains(word)
}

pub(super) fn is_filler(word: &str) -> bool {
    FILLER.contains(word)
}

pub(super) fn is_stop(word: &str) -> bool {
    STOP.contains(word) || is_auxiliary(word) || is_wh(word) || is_filler(word) || is_pronoun(word)
}

/// Words that do not narrow what is to be looked at: `this whole repository, please`.
pub(crate) fn is_filling(word: &str) -> bool {
    word.is_empty()
        || is_stop(word)
        || is_determiner(word)
        || is_breadth(word)
        || is_workspace(word)
        || is_generic(word)
}

pub(super) fn is_generic(word: &str) -> bool {
    GENERIC.contains(word)
}

pub(super) fn is_workspace(word: &str) -> bool {
    WORKSPACE.contains(word)
}

pub(super) fn is_breadth(word: &str) -> bool {
    BREADTH.contains(word)
}

pub(super) fn is_depth(word: &str) -> bool {
    DEPTH.contains(word)
}

pub(crate) fn is_surveying(word: &str) -> bool {
    SURVEYING.contains(word)
}

/// The verb a noun of action stands for (`translation`, `analysis`, `review`), if it is a known one.
pub(super) fn nominal_base(noun: &str) -> Option<&'static str> {
    const OTHERS: &[(&str, &str)] = &[
        ("overview", "summarize"),
        ("synopsis", "summarize"),
        ("look", "look"),
        ("advice", "recommend"),
    ];
    if let Some((_, verb)) = OTHERS.iter().find(|(other, _)| *other == noun) {
        return Some(verb);
    }
    let derived = ["tion", "sion", "sis", "son", "ment", "mary", "ript"]
        .iter()
        .any(|end| noun.ends_with(end));
    if is_also_noun(noun) || ["review", "audit"].contains(&noun) {
        return VERBS.get(noun).copied();
    }
    if !derived {
        return None;
    }
    let common = |verb: &str| verb.bytes().zip(noun.bytes()).take_while(|(a, b)| a == b).count();
    let best = VERBS
        .iter()
        .max_by_key(|verb| (common(verb), std::cmp::Reverse((verb.len(), **verb))))?;
    (common(best) >= 4 && common(best) * 10 >= best.len().min(noun.len()) * 6).then_some(*best)
}

/// The base form of a verb that may stand as a gerund (`translating`), if it is a known verb.
pub(super) fn gerund_base(word: &str) -> Option<String> {
    let stem = word.strip_suffix("ing")?;
    let undoubled = stem.get(..stem.len().saturating_sub(1)).unwrap_or(stem);
    [stem.to_owned(), format!("{stem}e"), undoubled.to_owned()]
        .into_iter()
        .find(|base| VERBS.contains(base.as_str()))
}

/// The base form of a verb that may stand as a participle (`translated`, `written`), if it is a known verb.
pub(super) fn participle_base(word: &str) -> Option<String> {
    const IRREGULAR: &[(&str, &str)] = &[
        ("written", "write"),
        ("sent", "send"),
        ("made", "make"),
        ("found", "find"),
        ("built", "build"),
        ("drawn", "draw"),
        ("split", "split"),
        ("put", "put"),
        ("read", "read"),
        ("brought", "bring"),
        ("taken", "take"),
        ("shown", "show"),
        ("bought", "buy"),
        ("set", "set"),
        ("cut", "crop"),
    ];
    if let Some((_, base)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return Some((*base).to_owned());
    }
    let stem = word.strip_suffix("ed")?;
    let undoubled = stem.get(..stem.len().saturating_sub(1)).unwrap_or(stem);
    let with_y = stem.strip_suffix('i').map(|stem| format!("{stem}y"));
    [
        Some(stem.to_owned()),
        Some(format!("{stem}e")),
        with_y,
        Some(undoubled.to_owned()),
    ]
    .into_iter()
    .flatten()
    .find(|base| VERBS.contains(base.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gerunds_and_nouns_of_action_are_verbs() {
        for (gerund, base) in [
            ("translating", "translate"),
            ("running", "run"),
            ("finding", "find"),
            ("thing", ""),
        ] {
            assert_eq!(gerund_base(gerund).unwrap_or_default(), base);
        }
        for (participle, base) in [
            ("translated", "translate"),
            ("summarised", "summarise"),
            ("written", "write"),
            ("red", ""),
        ] {
            assert_eq!(participle_base(participle).unwrap_or_default(), base);
        }
        for (noun, verb) in [
            ("translation", "translate"),
            ("analysis", "analyse"),
            ("review", "review"),
            ("summary", "summarise"),
            ("station", ""),
        ] {
            assert_eq!(nominal_base(noun).unwrap_or_default(), verb);
        }
    }
}
