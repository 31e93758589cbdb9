//! Programs that find the weak spots of a filesystem: git, SQLite, tar, rsync. They judge the mount; Atlas only watches.

use std::fs;
use std::process::Command;

use atlas_tests::{Lab, Options, both, files};

both! {
    /// git maps, renames, locks and re-reads: a clone on the mount must be whole.
    fn git_clone_and_fsck_work_on_the_mount(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let git = "git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c safe.directory='*'";
        mount.sh(&format!(
            "mkdir a; cd a; {git} init -q; for i in $(seq 1 60); do seq 1 $i > f$i; done; {git} add .; {git} commit -qm one; \
             seq 9 > f1; {git} commit -qam two; {git} gc -q; cd ..; {git} clone -q --no-local a b; cd b; {git} fsck --strict; \
             test -z \"$({git} status --porcelain)\"; {git} log --oneline | wc -l"
        )).ok();
        mount.sync();
        mount.ctl(&["verify", "--recursive", "b"]).expect(0);
    }

    /// SQLite needs POSIX locks, truncation, and its journal to be deleted; with WAL also a shared map.
    fn sqlite_keeps_its_database_whole_with_both_journals(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        for journal in ["delete", "wal"] {
            mount.sh(&format!(
                "sqlite3 {journal}.db 'pragma journal_mode={journal}; create table t(a); begin; \
                 with recursive n(i) as (select 1 union all select i+1 from n where i < 5000) insert into t select i from n; commit;' > /dev/null; \
                 for i in 1 2 3; do sqlite3 {journal}.db \"pragma busy_timeout=20000; insert into t values($i);\" > /dev/null & done; wait; \
                 test \"$(sqlite3 {journal}.db 'select count(*) from t')\" = 5003; test \"$(sqlite3 {journal}.db 'pragma integrity_check')\" = ok"
            )).ok();
        }
        mount.sync();
        mount.ctl(&["verify", "delete.db", "wal.db"]).expect(0);
    }

    /// Hard links, modes, times, symlinks, extended attributes and holes must survive a round trip through tar.
    fn a_tar_round_trip_changes_nothing(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh(
            "mkdir -p t/d; echo one > t/one; ln t/one t/two; ln -s one t/s; truncate -s 5M t/hole; printf end >> t/hole; chmod 4711 t/one; \
             setfattr -n user.note -v kept t/one; touch -d '2001-02-03 04:05:06.789' t/d t/hole; mkfifo t/pipe; \
             tar --xattrs -cSf t.tar t; mkdir back; tar --xattrs -xpf t.tar -C back; tar --xattrs --compare -f t.tar -C back; \
             test \"$(stat -c %i back/t/one)\" = \"$(stat -c %i back/t/two)\"; test \"$(getfattr --only-values -n user.note back/t/one)\" = kept; \
             test \"$(stat -c %Y.%a back/t/hole)\" = \"$(stat -c %Y.%a t/hole)\"",
        ).ok();
        mount.sync();
        mount.ctl(&["verify", "t.tar", "back/t/one", "back/t/hole"]).expect(0);
    }

    /// rsync copies attributes with -X: a virtual one that is listed would break it, file by file.
    fn rsync_with_attributes_and_acls_copies_and_then_finds_no_difference(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh(
            "mkdir src; for i in 1 2 3; do head -c 70000 /dev/urandom > src/$i; setfattr -n user.n -v $i src/$i; done; \
             rsync -aXH src/ dst; test -z \"$(rsync -aXHn --itemize-changes --checksum src/ dst)\"; getfattr --only-values -n user.n dst/2 | grep -qx 2",
        ).ok();
        mount.sync();
        mount.ctl(&["verify", "--recursive", "dst"]).expect(0);
        assert!(mount.lineage("dst/1").nodes.values().any(|n| n.path == "src/1"), "rsync's two processes share a socket pair and an ancestor");
    }

    /// A copy off the mount and back is the same content: the proof is found by digest.
    fn a_file_that_left_and_came_back_is_recognised_by_its_content(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("head -c 50000 /dev/urandom > model.pt").ok();
        mount.sync();
        let away = lab.scratch().join("renamed.bin");
        fs::copy(mount.path("model.pt"), &away).unwrap();
        let status = Command::new("cmp").arg(mount.path("model.pt")).arg(&away).status().unwrap();
        assert!(status.success());
        let digest = mount.lineage("model.pt").root().digest.clone().unwrap();
        mount.ctl(&["show", &digest]).expect(0);
        mount.ctl(&["export", "model.pt", "-o", lab.scratch().join("p.c2pa").to_str().unwrap()]).expect(0);
        mount.ctl(&["verify", away.to_str().unwrap(), "--manifest", lab.scratch().join("p.c2pa").to_str().unwrap()]).expect(0);
        files::flip(&away, 49_999);
        mount.ctl(&["verify", away.to_str().unwrap(), "--manifest", lab.scratch().join("p.c2pa").to_str().unwrap()]).expect(4);
    }
}
