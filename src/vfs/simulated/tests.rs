//! What the other tests rest on: what is lost, what is kept, what fails.

use super::*;
use crate::vfs::read_file;

fn write(fs: &SimulatedFs, name: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let file = fs.create(Path::new(name)).expect("creates");
    file.write_at(&mut [IoSlice::new(bytes)], 0).expect("writes");
    file
}

#[test]
fn what_was_synced_survives_a_power_cut_and_the_rest_may_not() {
    let (mut lost_names, mut lost_bytes) = (0, 0);
    for seed in 0..50 {
        let fs = SimulatedFs::new(seed);
        write(&fs, "synced", b"kept").sync_data().expect("syncs");
        fs.sync_dir(Path::new("")).expect("syncs");
        let half = fs.open(Path::new("synced")).expect("opens");
        half.write_at(&mut [IoSlice::new(b" and more")], 4).expect("writes");
        write(&fs, "unsynced", b"gone").sync_data().expect("syncs");
        fs.power_cut();
        half.sync_data().expect_err("the handle is dead");
        let bytes = read_file(&fs, Path::new("synced")).expect("is there");
        assert!(b"kept and more".starts_with(&bytes[..4]));
        lost_bytes += u32::from(bytes != b"kept and more");
        lost_names += u32::from(!fs.exists(Path::new("unsynced")).expect("asks"));
    }
    assert!((1..50).contains(&lost_names) && (1..50).contains(&lost_bytes));
}

#[test]
fn a_failed_sync_is_final() {
    let fs = SimulatedFs::new(1);
    let file = write(&fs, "file", b"doomed");
    fs.sync_dir(Path::new("")).expect("syncs");
    fs.fail_sync(1);
    file.sync_data().expect_err("planned");
    file.sync_data().expect("says nothing of what is lost");
    assert_eq!(read_file(&fs, Path::new("file")).expect("reads"), b"doomed");
    fs.power_cut();
    assert_eq!(read_file(&fs, Path::new("file")).expect("reads"), b"");
}

#[test]
fn fills_up_and_locks() {
    let fs = SimulatedFs::new(1);
    fs.set_capacity(Some(6));
    let file = fs.create(Path::new("file")).expect("creates");
    let error = file.write_at(&mut [IoSlice::new(b"too long")], 0).expect_err("is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!((file.file_len().expect("asks"), fs.free_bytes(Path::new("")).expect("asks")), (6, 0));
    let lock = fs.lock(Path::new("lock")).expect("is free");
    fs.lock(Path::new("lock")).err().expect("is taken");
    drop(lock);
    fs.lock(Path::new("lock")).expect("is free again");
}

#[test]
fn a_killed_process_loses_its_files_and_no_bytes() {
    let fs = SimulatedFs::new(1);
    let path = Path::new("/file");
    let file = fs.create(path).unwrap();
    file.write_at(&mut [IoSlice::new(b"written, not synced")], 0).unwrap();
    let lock = fs.lock(Path::new("/lock")).unwrap();
    fs.die_at_sync(1);
    assert!(file.sync_data().is_err() && fs.is_dead());
    fs.kill();
    assert!(!fs.is_dead());
    assert!(file.write_at(&mut [IoSlice::new(b"no")], 0).is_err());
    assert!(fs.lock(Path::new("/lock")).is_ok());
    drop(lock);
    assert_eq!(crate::vfs::read_file(&fs, path).unwrap(), b"written, not synced");
}
