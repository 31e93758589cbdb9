//! What training jobs do to files, replayed with the real libraries: shards, workers, checkpoints, resumes.

use std::fs;

use atlas_tests::lineage::names;
use atlas_tests::{Lab, Mount, Options, both, files};

/// Behind the mount: shards as NumPy writes them.
fn shards(lab: &Lab, number: usize) {
    lab.put("digits/.keep", b"");
    for i in 0..number {
        let program = "import numpy, sys; numpy.save(sys.argv[1], numpy.random.default_rng(int(sys.argv[2])).normal(size=(64, 64)))";
        let path = lab.behind(&format!("digits/train-{i}.npy"));
        let done = atlas_tests::Job::new(
            &lab.scratch(),
            &lab.scratch(),
            &[
                "python",
                "-c",
                program,
                path.to_str().unwrap(),
                &i.to_string(),
            ],
        )
        .by(atlas_tests::User::Root);
        done.ok();
    }
}

const POOL: &str = r"
import multiprocessing, numpy, sys
from pathlib import Path
from safetensors.numpy import save_file
def read(path):
    return numpy.load(path)
with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
    parts = pool.map(read, sorted(Path('digits').glob('train-*.npy')))
save_file({'sum': sum(parts)}, sys.argv[2])
";

fn pool(mount: &Mount<'_>, how: &str, to: &str) {
    let script = mount.path("train.py");
    fs::write(&script, POOL).unwrap();
    mount.job(&["python", "train.py", how, to]).ok();
    mount.sync();
}

both! {
    /// Workers read and only the parent writes: attribution by process alone loses the training data.
    fn what_forked_workers_read_is_an_input_of_what_the_parent_writes(io) {
        let lab = Lab::new();
        shards(&lab, 5);
        lab.put("digits/decoy.npy", b"never opened");
        let mount = lab.mount(Options::new(io));
        pool(&mount, "fork", "model.safetensors");
        let lineage = mount.lineage("model.safetensors");
        let want: Vec<_> = (0..5).map(|i| format!("digits/train-{i}.npy")).collect();
        assert_eq!(lineage.inputs(), want.iter().cloned().collect(), "none missing, none invented: {}", lineage.json);
        for path in &want {
            assert_eq!(lineage.edge(path).grade, "process-tree", "the parent never opened it");
        }
        mount.verify("model.safetensors", 0);
    }

    /// safetensors renames before it closes: state bound to the path would seal a temporary name, or nothing.
    fn a_safetensors_file_is_sealed_under_its_final_name(io) {
        let lab = Lab::new();
        lab.put("w.npy", &npy());
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import numpy; from safetensors.numpy import save_file; save_file({'w': numpy.load('w.npy')}, 'm.safetensors')",
        ).ok();
        mount.sync();
        let lineage = mount.lineage("m.safetensors");
        assert_eq!(lineage.inputs(), names(["w.npy"]));
        assert_eq!(lineage.root().state, "logged");
        let shown = mount.ctl(&["show", "--json", "m.safetensors"]).expect(0).stdout;
        assert!(shown.contains("\"m.safetensors\"") && !shown.contains(".tmp"), "{shown}");
        mount.verify("m.safetensors", 0);
    }

    /// A loader that maps its file closes it before it touches a byte: nothing but OPEN tells of the use.
    fn a_mapped_input_is_an_input_although_it_is_closed_before_it_is_read(io) {
        let lab = Lab::new();
        lab.put("tokens.bin", &files::noise(3, 1 << 20));
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import mmap, os\nfd = os.open('tokens.bin', os.O_RDONLY); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); os.close(fd)\n\
             open('sum.txt', 'w').write(str(sum(m[::4096])))",
        ).ok();
        mount.sync();
        assert_eq!(mount.lineage("sum.txt").inputs(), names(["tokens.bin"]));
    }

    /// A forked child reads a mapping that its parent made and opens nothing itself.
    fn a_mapping_made_before_a_fork_counts_for_what_the_family_writes(io) {
        let lab = Lab::new();
        lab.put("tokens.bin", &files::noise(4, 1 << 16));
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import mmap, os\nf = open('tokens.bin', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close()\n\
             pid = os.fork()\nif pid == 0:\n    open('child.txt', 'w').write(str(sum(m))); os._exit(0)\nos.waitpid(pid, 0)",
        ).ok();
        mount.sync();
        assert_eq!(mount.lineage("child.txt").inputs(), names(["tokens.bin"]));
    }

    /// Trainers delete the checkpoint that they resumed from within seconds: the proof must outlive it.
    fn a_resumed_model_keeps_the_proof_of_a_deleted_checkpoint(io) {
        let lab = Lab::new();
        lab.put("shard.npy", &npy());
        let mount = lab.mount(Options::new(io));
        let save = "import numpy, os\nfrom safetensors.numpy import save_file, load_file\n";
        mount.python(&format!("{save}save_file({{'w': numpy.load('shard.npy')}}, 'c.tmp'); os.rename('c.tmp', 'checkpoint-1.safetensors')")).ok();
        mount.python(&format!(
            "{save}w = load_file('checkpoint-1.safetensors')['w']\nsave_file({{'w': w + 1}}, 'checkpoint-2.safetensors')\nos.unlink('checkpoint-1.safetensors')"
        )).ok();
        mount.sync();
        let lineage = mount.lineage("checkpoint-2.safetensors");
        assert_eq!(lineage.inputs(), names(["checkpoint-1.safetensors"]), "{}", lineage.json);
        let (id, node) = lineage.node("checkpoint-1.safetensors");
        assert!(node.attested, "its manifest survives: {}", lineage.json);
        assert_eq!(lineage.inputs_of(id), names(["shard.npy"]));
        mount.verify("checkpoint-2.safetensors", 0);
    }

    /// Reading back what one has written so far is no input (a self-loop); reading a finished checkpoint is.
    fn a_finished_output_is_an_input_of_the_next_and_a_growing_one_is_not_of_itself(io) {
        let lab = Lab::new();
        lab.put("data", b"1 2 3\n");
        let mount = lab.mount(Options::new(io));
        mount.python(
            "d = open('data').read()\nwith open('one', 'w+') as f:\n    f.write(d); f.flush(); f.seek(0); f.read(); f.write('more')\n\
             open('two', 'w').write(open('one').read())",
        ).ok();
        mount.sync();
        assert_eq!(mount.lineage("one").inputs(), names(["data"]));
        assert_eq!(mount.lineage("two").inputs(), names(["data", "one"]));
    }

    /// An input that is opened after an output has ended cannot have gone into it.
    fn what_is_opened_after_the_end_of_an_output_is_not_its_input(io) {
        let lab = Lab::new();
        lab.put("early", b"e");
        lab.put("late", b"l");
        let mount = lab.mount(Options::new(io));
        mount.python("e = open('early').read(); open('out', 'w').write(e); open('late').read()").ok();
        mount.sync();
        assert_eq!(mount.lineage("out").inputs(), names(["early"]));
    }

    /// The script itself is what a reader asks for first, and it is code, not data.
    fn the_program_that_lies_on_the_mount_is_an_input_of_kind_code(io) {
        let lab = Lab::new();
        shards(&lab, 1);
        let mount = lab.mount(Options::new(io));
        pool(&mount, "fork", "model.safetensors");
        let all = mount.ctl(&["lineage", "--json", "--all", "model.safetensors"]).expect(0).json();
        let lineage = atlas_tests::Lineage::of(all);
        assert_eq!(lineage.edge("train.py").kind, "code", "{}", lineage.json);
        let text = mount.ctl(&["lineage", "model.safetensors"]).expect(0).stdout;
        assert!(text.contains("digits") && text.contains("model.safetensors"), "{text}");
    }

    /// `bash job.sh` reads its script like any file: it is the program, and no data; the same for what another program reads of it.
    fn the_script_that_a_shell_runs_is_code_and_to_everybody_else_it_is_data(io) {
        let lab = Lab::new();
        lab.put("bin/job.sh", b"read -r line < a; echo \"$line\" > out\n");
        lab.put("a", b"a\n");
        let mount = lab.mount(Options::new(io));
        mount.job(&["bash", "bin/job.sh"]).ok();
        mount.sh("gzip -c bin/job.sh > job.gz").ok();
        mount.sync();
        let lineage = mount.lineage("out");
        assert_eq!(lineage.inputs(), names(["a"]), "{}", lineage.json);
        assert_eq!(mount.lineage("job.gz").inputs(), names(["bin/job.sh"]));
    }

    /// A corpus of source code is data: only a Python imports Python files.
    fn python_files_that_another_program_reads_are_data(io) {
        let lab = Lab::new();
        lab.put("corpus/a.py", b"print(1)\n");
        let mount = lab.mount(Options::new(io));
        mount.sh("gzip -c corpus/a.py > corpus.gz").ok();
        mount.sync();
        assert_eq!(mount.lineage("corpus.gz").inputs(), names(["corpus/a.py"]));
    }

    /// Ten thousand inputs are one epoch of a small data set: all of them are known, and the manifest stays below 8 KB.
    fn a_manifest_stays_small_with_many_inputs_and_forgets_none(io) {
        let lab = Lab::new();
        for i in 0..400 {
            lab.put(&format!("images/{i:04}"), format!("image {i}").as_bytes());
        }
        let mount = lab.mount(Options::new(io));
        mount.sh("cat images/* > all").ok();
        mount.sync();
        assert_eq!(mount.lineage("all").inputs().len(), 400);
        let manifests = files::find(&lab.behind(".atlas/store/manifests"), ".c2pa");
        assert_eq!(manifests.len(), 1);
        assert!(fs::metadata(&manifests[0]).unwrap().len() < 8192);
        mount.verify("all", 0);
    }
}

/// `multiprocessing` with spawn executes a new interpreter: ancestry must hold over exec.
#[test]
fn what_spawned_workers_read_is_an_input_too() {
    let lab = Lab::new();
    shards(&lab, 3);
    let mount = lab.mount(Options::new(atlas_tests::Io::Passthrough));
    fs::write(
        mount.path("train.py"),
        "if __name__ == '__main__':\n    from work import main; main()\n",
    )
    .unwrap();
    let work = POOL
        .replace("with multi", "def main():\n  with multi")
        .replace("    parts", "      parts")
        .replace("save_file({", "  save_file({");
    fs::write(mount.path("work.py"), work).unwrap();
    mount
        .job(&["python", "train.py", "spawn", "model.safetensors"])
        .ok();
    mount.sync();
    assert_eq!(
        mount.lineage("model.safetensors").inputs(),
        names([
            "digits/train-0.npy",
            "digits/train-1.npy",
            "digits/train-2.npy"
        ])
    );
}

/// Two jobs of one user at one time: neither may be given the other's inputs (the failure of tools that go by time).
#[test]
fn two_jobs_side_by_side_keep_their_inputs_apart() {
    let lab = Lab::new();
    lab.put("a.in", b"a");
    lab.put("b.in", b"b");
    let mount = lab.mount(Options::new(atlas_tests::Io::Passthrough));
    let job = |name: &str| {
        let program = format!(
            "import time\nd = open('{name}.in').read(); print('read', flush=True)\ntime.sleep(0.7)\nopen('{name}.out', 'w').write(d)"
        );
        mount.python(&program).start()
    };
    let (a, b) = (job("a"), job("b"));
    a.wait().expect(0);
    b.wait().expect(0);
    mount.sync();
    assert_eq!(mount.lineage("a.out").inputs(), names(["a.in"]));
    assert_eq!(mount.lineage("b.out").inputs(), names(["b.in"]));
}

/// A small valid `.npy` file: version 1.0, eight doubles.
fn npy() -> Vec<u8> {
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (8,), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend((u16::try_from(padded.len()).unwrap()).to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend((0..8_u8).flat_map(|i| f64::from(i).to_le_bytes()));
    bytes
}
