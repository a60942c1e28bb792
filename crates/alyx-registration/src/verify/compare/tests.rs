use super::*;
use crate::verify::finding::FindingKind as K;

const A: &str = "alf/a.times.npy";
const B: &str = "alf/b.times.npy";

/// A dataset of three bytes that exists here.
fn held(path: &str) -> HeldDataset {
    HeldDataset {
        id: format!("id-{path}"),
        path: path.into(),
        size: Some(3),
        has_hash: true,
        md5: None,
        place: Place::Here,
        other_path: None,
    }
}

fn disk(files: &[(&str, u64)]) -> DiskFiles {
    let datasets = files.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect();
    DiskFiles { folders: 1, datasets, ..DiskFiles::default() }
}

fn looked_up(path: &str, presence: Presence) -> DiskFiles {
    DiskFiles { looked_up: [(path.to_owned(), presence)].into(), ..disk(&[]) }
}

fn expected() -> Expected {
    Expected {
        repository: Some("rig".into()),
        folder: "KS014/2024-05-01/001".into(),
        has_files: true,
        exists: true,
        max_md5_size: None,
    }
}

/// What happened, both sides, the findings, and how many datasets are ok.
type Row = (&'static str, Vec<HeldDataset>, DiskFiles, Vec<(K, String)>, u64);

/// The kinds and paths of the findings, `-` for the session, and how many datasets are ok and elsewhere.
fn shown(held: &[HeldDataset], disk: &DiskFiles, expected: &Expected) -> (Vec<(K, String)>, u64, u64) {
    let (findings, totals) = compare(held, disk, expected);
    let shown = |finding: Finding| (finding.kind, finding.path.unwrap_or_else(|| "-".into()));
    (findings.into_iter().map(shown).collect(), totals.ok, totals.elsewhere)
}

#[test]
fn each_difference_is_one_finding() {
    let dir = |unreadable: &str| DiskFiles {
        unreadable: vec![(unreadable.into(), "Permission denied".into())],
        ..looked_up(A, Presence::Unreadable("Permission denied".into()))
    };
    let placed = |place| HeldDataset { place, ..held(A) };
    let elsewhere = |path: &str| HeldDataset { other_path: Some(path.into()), ..held(A) };
    let others = |path: &str| DiskFiles { others: [path.to_owned()].into(), ..disk(&[]) };
    let is = |kind: K, path: &str| vec![(kind, path.to_owned())];
    let absent = looked_up(A, Presence::Absent);
    let table: Vec<Row> = vec![
        ("the same", vec![held(A)], disk(&[(A, 3)]), vec![], 1),
        ("deleted", vec![held(A)], absent.clone(), is(K::Missing, A), 0),
        ("deleted, and said to be elsewhere", vec![placed(Place::SaidAbsent)], absent, vec![], 0),
        ("truncated", vec![held(A)], disk(&[(A, 2)]), is(K::SizeDiffers, A), 0),
        ("no size", vec![HeldDataset { size: None, ..held(A) }], disk(&[(A, 3)]), is(K::NoHash, A), 0),
        ("no hash", vec![HeldDataset { has_hash: false, ..held(A) }], disk(&[(A, 3)]), is(K::NoHash, A), 0),
        ("more", vec![held(A)], disk(&[(A, 3), (B, 0)]), is(K::UnknownToAlyx, B), 1),
        ("said absent", vec![placed(Place::SaidAbsent)], disk(&[(A, 3)]), is(K::ExistsFalse, A), 0),
        ("no record", vec![placed(Place::Elsewhere)], disk(&[(A, 3)]), is(K::ExistsFalse, A), 0),
        ("two records", vec![held(A), held(A)], disk(&[(A, 3)]), is(K::TwiceOnAlyx, A), 0),
        ("letter case", vec![held(A)], disk(&[("Alf/a.times.npy", 3)]), is(K::PathDiffers, A), 0),
        ("extension", vec![held(A)], others("alf/a.times.NPY"), is(K::PathDiffers, A), 0),
        (
            "revision",
            vec![held("alf/#2024-05-01#/a.b.npy")],
            disk(&[("alf/2024-05-01/a.b.npy", 3)]),
            is(K::PathDiffers, "alf/#2024-05-01#/a.b.npy"),
            0,
        ),
        (
            "number",
            vec![elsewhere(&format!("KS014/2024-05-01/1/{A}"))],
            disk(&[(A, 3)]),
            is(K::PathDiffers, "-"),
            1,
        ),
        ("other name", vec![elsewhere("KS014/2024-05-01/1/x")], disk(&[(A, 3)]), is(K::PathDiffers, A), 0),
        ("no datasets", vec![], disk(&[(A, 3), (B, 3)]), is(K::SessionWithoutDatasets, "-"), 0),
        ("nothing at all", vec![], disk(&[]), is(K::SessionWithoutDatasets, "-"), 0),
        ("EIO", vec![held(A)], looked_up(A, Presence::Unreadable("EIO".into())), is(K::Unreadable, A), 0),
        ("EACCES of a folder", vec![held(A)], dir("alf"), is(K::Unreadable, "alf"), 0),
        ("EACCES of the session", vec![held(A)], dir(""), is(K::Unreadable, "-"), 0),
        ("EACCES, and nothing on Alyx", vec![], dir("alf"), is(K::Unreadable, "alf"), 0),
        (
            "excluded by the configuration",
            vec![held(A)],
            { DiskFiles { others: [A.to_owned()].into(), ..looked_up(A, Presence::File(3)) } },
            vec![],
            1,
        ),
    ];
    for (what, held, disk, wanted, ok) in table {
        let (found, n_ok, _) = shown(&held, &disk, &expected());
        assert_eq!((found, n_ok), (wanted, ok), "{what}");
    }
}

#[test]
fn a_finding_names_both_sides_and_the_repository() {
    let (findings, _) = compare(&[held(A)], &disk(&[(A, 2)]), &expected());
    let [finding] = findings.try_into().unwrap();
    assert_eq!((finding.expected, finding.found), (Some(Seen::Bytes(3)), Some(Seen::Bytes(2))));
    assert_eq!(finding.repository.as_deref(), Some("rig"));
    let other = HeldDataset { other_path: Some(format!("KS014/2024-05-01/1/{A}")), ..held(A) };
    let (findings, _) = compare(&[other], &disk(&[(A, 3)]), &expected());
    let [finding] = findings.try_into().unwrap();
    assert_eq!(finding.expected, Some("KS014/2024-05-01/1".into()));
    assert_eq!(finding.found, Some("KS014/2024-05-01/001".into()));
}

#[test]
fn what_the_configuration_does_not_register_is_no_finding() {
    let no_files = Expected { has_files: false, ..expected() };
    assert_eq!(shown(&[], &disk(&[(A, 3)]), &no_files).0, []);
    let no_exists = Expected { exists: false, ..expected() };
    let absent = HeldDataset { place: Place::SaidAbsent, ..held(A) };
    assert_eq!(shown(&[absent], &disk(&[(A, 3)]), &no_exists), (vec![], 1, 0));
    let no_hash = HeldDataset { has_hash: false, ..held(A) };
    let small = Expected { max_md5_size: Some(2), ..expected() };
    assert_eq!(shown(&[no_hash], &disk(&[(A, 3)]), &small).0, []);
}

#[test]
fn a_spelling_is_claimed_by_one_dataset_only() {
    // Two files that differ in case only: both are datasets, and both are there.
    let both = disk(&[("alf/A.times.npy", 3), (A, 3)]);
    assert_eq!(shown(&[held(A), held("alf/A.times.npy")], &both, &expected()), (vec![], 2, 0));
    assert_eq!(shown(&[held(A)], &both, &expected()).0, [(K::UnknownToAlyx, "alf/A.times.npy".to_owned())]);
    // One of the two was deleted: the other is no other spelling of it.
    let one =
        DiskFiles { looked_up: [(A.to_owned(), Presence::Absent)].into(), ..disk(&[("alf/A.times.npy", 3)]) };
    let found = shown(&[held(A), held("alf/A.times.npy")], &one, &expected()).0;
    assert_eq!(found, [(K::Missing, A.to_owned())]);
}

#[test]
fn a_copy_in_another_folder_of_the_session_counts_too() {
    let mut joined = disk(&[(A, 3)]);
    joined.folder = "/a".into();
    joined.join(DiskFiles { folder: "/b".into(), ..disk(&[(A, 5), (B, 3)]) });
    let found = shown(&[held(A), held(B)], &joined, &expected());
    assert_eq!(found, (vec![(K::SizeDiffers, A.to_owned())], 1, 0));
    // Also of a file that Alyx does not know.
    let (findings, _) = compare(&[held(B)], &joined, &expected());
    assert_eq!(findings[1].kind, K::SizeDiffers);
    assert_eq!(findings[1].found, Some("3 bytes in /a, 5 bytes in /b".into()));
}
