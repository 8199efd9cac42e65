"""`python benchmarks/guards.py [NUMBER...]`: each guard against strangers' files is needed by a test.

Takes one guard out of a copy of the code at a time, as GUARDS says, and runs the test that must fail then.
Prints a row for each; the exit code is 1 where a test passes without the guard. With all of them in place the
tests pass, which CI checks. A test that hangs without one is ended after two minutes of processor time, which
counts as failing: that is what some guards are against.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 120
"""Of processor time for a test."""
BOUND = "tests/untrusted/test_bounds.py::test_what_needs_the_bound_is_read_and_one_more_refused"

RACES = "tests/fcn_repro/fetching/test_fetch_races.py"
HOSTILE = "tests/hostile/test_hostile_files.py::test_each_is_read_or_refused_and_nothing_is_left"


@dataclass(frozen=True)
class Guard:
    """What it is against, the file, the text that is it, what stands there without it, and the test."""

    against: str
    file: str
    text: str
    without: str
    test: str


GUARDS = (
    Guard(
        "--diff X.pt2 runs what its author wrote",
        "caffe2torch/formats/pt2.py",
        "    runs_code=True,\n",
        "",
        "tests/comparing/test_trust.py::test_nothing_runs_without_trust",
    ),
    Guard(
        "--diff X.py runs it",
        "caffe2torch/formats/py/__init__.py",
        "    runs_code=True,\n",
        "",
        "tests/comparing/test_trust.py::test_nothing_runs_without_trust",
    ),
    Guard(
        "--diff runs code without --trust",
        "caffe2torch/comparing/files.py",
        "if known.runs_code and not trust:",
        "if False:",
        "tests/comparing/test_trust.py::test_nothing_runs_without_trust",
    ),
    Guard(
        "two fetches write one .part",
        "fcn_repro/fetching/http.py",
        "            fcntl.flock(file, fcntl.LOCK_EX)\n",
        "",
        f"{RACES}::test_a_second_thread_takes_what_the_first_one_fetched",
    ),
    Guard(
        "a program without locks writes to the .part",
        "fcn_repro/fetching/http.py",
        "if found != self.size:",
        "if False:",
        f"{RACES}::test_a_program_without_locks_that_writes_to_the_part_is_noticed",
    ),
    Guard(
        "SPP asks for 2**31 levels",
        "caffe2torch/layers/caffe/spp.py",
        "if self.p.pyramid_height > MAX_LEVELS:",
        "if False:",
        f"{BOUND}[caffe2torch.layers.caffe.spp.MAX_LEVELS]",
    ),
    Guard(
        "a .pth has a key of 2**40 values",
        "caffe2torch/untrusted/pickles.py",
        "if size > MAX_TUPLE:",
        "if False:",
        f"{BOUND}[caffe2torch.untrusted.pickles.MAX_TUPLE]",
    ),
    Guard(
        "an answer of spaces is matched in every way",
        "fcn_repro/scoring/voc_server.py",
        r'r"(\d{1,3}(?:\.\d+)?)\s*%?", text.strip())',
        r'r"\s*(\d{1,3}(?:\.\d+)?)?\s*\s*%?\s*\d", text)',
        "tests/fcn_repro/fetching/test_hostile.py",
    ),
    Guard(
        "an answer is longer than any page",
        "fcn_repro/scoring/voc_server.py",
        "if path.stat().st_size > MAX_ANSWER_BYTES:",
        "if False:",
        f"{BOUND}[fcn_repro.scoring.voc_server.MAX_ANSWER_BYTES]",
    ),
    Guard(
        "a tar's links lead to each other in a chain",
        "fcn_repro/fetching/archives.py",
        "        self.links |= dict.fromkeys(chain, name)\n",
        "",
        "tests/fcn_repro/fetching/test_hostile.py",
    ),
    Guard(
        "classes.txt holds escape sequences",
        "caffe2torch/command_line.py",
        'if c.isprintable() or c == "\\n" else "?"',
        'if True else "?"',
        "tests/fcn_repro/test_repro_cli.py::test_names_from_files_cannot_drive_the_terminal",
    ),
    Guard(
        "12,000 layers have one name",
        "caffe2torch/plan/__init__.py",
        "        self._next[name] = number\n",
        "",
        "tests/plan/test_many.py",
    ),
    Guard(
        "a net has 3,000 inputs",
        "caffe2torch/plan/sight.py",
        "seen if self._inputs <= MAX_VIEWED else {}",
        "seen",
        "tests/plan/test_many.py",
    ),
    Guard(
        "a safetensors header has 18 MB",
        "caffe2torch/untrusted/safetensors.py",
        "if length > MAX_TABLE:",
        "if False:",
        "tests/formats/test_export.py::test_a_header_is_bounded",
    ),
    Guard(
        "a param_str ends in a MemoryError",
        "caffe2torch/net/preprocessing.py",
        "except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):",
        "except (ValueError, TypeError, SyntaxError):",
        "tests/net/test_preprocess.py",
    ),
    Guard(
        "a param_str is long",
        "caffe2torch/net/preprocessing.py",
        "if len(text) > MAX_PARAM_STR:",
        "if False:",
        f"{BOUND}[caffe2torch.net.preprocessing.MAX_PARAM_STR]",
    ),
    Guard(
        "TOML nests too deeply",
        "fcn_repro/toml_records.py",
        "except (OSError, ValueError, RecursionError) as error:",
        "except (OSError, ValueError) as error:",
        "tests/fcn_repro/fetching/test_hostile.py::test_toml",
    ),
    Guard(
        "a zip has a member without a name",
        "fcn_repro/fetching/archives.py",
        "if not member.filename:",
        "if False:",
        "tests/fcn_repro/fetching/test_hostile.py::test_a_member_without_a_name",
    ),
    Guard(
        "a net's name of 5,000 letters looks like text",
        "caffe2torch/untrusted/mapped.py",
        ' and not (start[:1] == b"\\n" and start[1:2] >= b"\\x80")',
        "",
        "tests/net/test_read.py::test_a_net_with_a_very_long_name_is_no_text",
    ),
    Guard(
        "a cut file is accepted where no length is told",
        "fcn_repro/fetching/http.py",
        '"chunked" and not part.is_known:',
        '"chunked" and False:',
        f"{RACES}::test_where_nothing_tells_that_it_is_whole_it_is_refused",
    ),
    Guard(
        "a server gives a byte for each connection",
        "fcn_repro/fetching/http.py",
        "failures = 0 if part.size >= best + ENOUGH else failures + 1",
        "failures = 0 if part.size > best else failures + 1",
        "tests/fcn_repro/fetching/test_fetching.py"
        "::test_a_server_that_gives_a_few_bytes_at_a_time_is_left_too",
    ),
    Guard(
        "what a killed write left stays for ever",
        "caffe2torch/partial.py",
        "    _sweep(target)\n",
        "",
        "tests/faults/test_interrupts.py::test_the_next_write_removes_what_a_killed_one_left",
    ),
    Guard(
        "a pickle names what is no tensor",
        "caffe2torch/untrusted/pickles.py",
        "argument not in _KNOWN",
        "False",
        "tests/weights/test_vgg16.py::test_all_else_is_refused_in_one_line_and_nothing_runs",
    ),
    Guard(
        "torch unpickles whatever it is asked to",
        "caffe2torch/untrusted/pickles.py",
        "weights_only=True, mmap",
        "weights_only=False, mmap",
        "tests/untrusted/test_nothing_runs.py",
    ),
    Guard(
        "a .pth is a zip bomb",
        "caffe2torch/untrusted/pickles.py",
        "if pickle.file_size > MAX_PICKLE:",
        "if False:",
        f"{BOUND}[caffe2torch.untrusted.pickles.MAX_PICKLE]",
    ),
    Guard(
        "HDF5 links lead to another file",
        "caffe2torch/untrusted/hdf5.py",
        "if not isinstance(group.get(name, getlink=True), h5py.HardLink):",
        "if False:",
        "tests/untrusted/test_hdf5.py",
    ),
    Guard(
        "HDF5 keeps values in another file",
        "caffe2torch/untrusted/hdf5.py",
        "plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count() or ",
        "",
        "tests/feeding/test_refusals.py::test_hdf5_files",
    ),
    Guard(
        "HDF5 groups never end",
        "caffe2torch/untrusted/hdf5.py",
        "if seen > MAX_MEMBERS or len(path) > MAX_NAME:",
        "if len(path) > MAX_NAME:",
        f"{BOUND}[caffe2torch.untrusted.hdf5.MAX_MEMBERS]",
    ),
    Guard(
        "HDF5 rows are a bomb",
        "caffe2torch/untrusted/hdf5.py",
        "if size > MAX_UNSTORED + MAX_RATIO * stored:",
        "if False:",
        f"{BOUND}[caffe2torch.untrusted.hdf5.MAX_UNSTORED]",
    ),
    Guard(
        "HDF5 rows are in a million chunks",
        "caffe2torch/untrusted/hdf5.py",
        "> MAX_CHUNKS:",
        "> 1 << 60:",
        f"{BOUND}[caffe2torch.untrusted.hdf5.MAX_CHUNKS]",
    ),
    Guard(
        "a length goes beyond its message",
        "caffe2torch/untrusted/wire.py",
        "if size > end - payload:",
        "if False:",
        "tests/untrusted/test_wire.py::test_a_field_that_overruns_its_message_is_refused",
    ),
    Guard(
        "a caffemodel has a million fields",
        "caffe2torch/untrusted/wire.py",
        "if self.fields_left < 0:",
        "if False:",
        "tests/untrusted/test_wire.py::test_the_number_of_fields_is_bounded",
    ),
    Guard(
        "a tag is longer than protobuf takes",
        "caffe2torch/untrusted/wire.py",
        "payload - at <= MAX_TAG and ",
        "",
        f"{BOUND}[caffe2torch.untrusted.wire.MAX_TAG]",
    ),
    Guard(
        "a shape asks for more than there is",
        "caffe2torch/untrusted/wire.py",
        "if found and count != wanted:",
        "if False:",
        "tests/untrusted/test_wire.py::test_a_blob_that_cannot_be_is_refused_with_its_byte_and_place",
    ),
    Guard(
        "a .pt2 keeps its weights pickled",
        "caffe2torch/untrusted/pt2.py",
        "if pickled is not False:",
        "if False:",
        "tests/untrusted/test_pt2.py",
    ),
    Guard(
        "an .npz holds objects",
        "caffe2torch/untrusted/npz.py",
        'if dtype.kind not in "fiub":',
        "if False:",
        "tests/modules/test_report.py::test_members_that_are_no_arrays_of_numbers",
    ),
    Guard(
        "an .npz is a bomb",
        "caffe2torch/untrusted/npz.py",
        "min(MAX_ARRAY, MAX_UNSTORED + MAX_RATIO * info.compress_size)",
        "MAX_ARRAY",
        f"{BOUND}[caffe2torch.untrusted.npz.MAX_UNSTORED]",
    ),
    Guard(
        "tensors of a safetensors file overlap",
        "caffe2torch/untrusted/safetensors.py",
        "        if begin != at:",
        "        if False:",
        "tests/formats/test_export.py::test_a_tampered_file_is_refused",
    ),
    Guard(
        "a LevelDB ends the library's process",
        "caffe2torch/untrusted/databases.py",
        "        _check_leveldb(path)\n",
        "",
        "tests/untrusted/test_databases.py",
    ),
    Guard(
        "an LMDB ends the library's process",
        "caffe2torch/untrusted/databases.py",
        "        _check_lmdb(path)\n",
        "",
        "tests/feeding/test_refusals.py::test_a_damaged_lmdb_never_reaches_the_c_library",
    ),
    Guard(
        "a small photo is huge",
        "caffe2torch/untrusted/photos.py",
        "if image.width * image.height > FREE_PIXELS + MAX_RATIO * length:",
        "if False:",
        f"{BOUND}[caffe2torch.untrusted.photos.FREE_PIXELS]",
    ),
    Guard(
        "a JPEG has a thousand scans",
        "caffe2torch/untrusted/photos.py",
        "> MAX_SCANS:",
        "> 1 << 60:",
        f"{BOUND}[caffe2torch.untrusted.photos.MAX_SCANS]",
    ),
    Guard(
        "a member's path leaves the folder",
        "fcn_repro/fetching/archives.py",
        'return not path.anchor and ".." not in path.parts and "\\0" not in name',
        "return True",
        "tests/fcn_repro/fetching/test_fetching.py::test_no_path_leaves_the_folder",
    ),
    Guard(
        "an archive unpacks to more than allowed",
        "fcn_repro/fetching/archives.py",
        "if self.bytes > self.max_bytes:",
        "if False:",
        "tests/fcn_repro/fetching/test_fetching.py::test_bombs_go_off_early",
    ),
    Guard(
        "a fetched file is another",
        "fcn_repro/fetching/http.py",
        "if found[algorithm] not in hashes:",
        "if False:",
        "tests/fcn_repro/fetching/test_fetching.py::test_another_file_is_refused_and_not_kept",
    ),
    Guard(
        "an id leads to another folder",
        "fcn_repro/data/reading.py",
        'if "/" in name or "\\\\" in name or name.startswith("."):',
        "if False:",
        "tests/fcn_repro/data/test_datasets_files.py::test_lists_do_not_lead_out_of_the_folder",
    ),
    Guard(
        "a .mat inflates without end",
        "fcn_repro/data/datasets/matlab.py",
        "if len(content) > most:",
        "if False:",
        f"{BOUND}[fcn_repro.data.datasets.matlab.MAX_BYTES]",
    ),
    Guard(
        "a TOML key has 20,000 dots",
        "fcn_repro/toml_records.py",
        "> MAX_DOTS:",
        "> 1 << 60:",
        "tests/hostile/test_in_proportion.py",
    ),
    Guard(
        "an .npz has 9,000 sets",
        "caffe2torch/untrusted/npz.py",
        "with self._refusing(), self._archive.open(info) as member:",
        "with self._refusing(), zipfile.ZipFile(self.path).open(info) as member:",
        "tests/hostile/test_in_proportion.py",
    ),
    Guard(
        "a log line drives the terminal",
        "caffe2torch/pycaffe/logs.py",
        'printable(f"{_LETTERS[level]}{head}{message}\\n", sys.stderr)',
        'f"{_LETTERS[level]}{head}{message}\\n"',
        f"{HOSTILE}[solvers]",
    ),
)


def main() -> int:
    """Tries the guards that the command line numbers, or all; 1 where a test does not need one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="from 1")
    numbers = parser.parse_args().numbers or range(1, len(GUARDS) + 1)
    with tempfile.TemporaryDirectory() as place:
        copy = _copy(Path(place) / "copy")
        print("| | against | in | test | without the guard |\n|---|---|---|---|---|")
        return max([_try(number, copy) for number in numbers], default=0)


def _copy(copy: Path) -> Path:
    """The files that git knows or would, in a folder of their own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def _try(number: int, copy: Path) -> int:
    """Takes a guard out, runs its test, puts it back and prints a row; 1 where the test passes."""
    guard = GUARDS[number - 1]
    path = copy / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.text) != 1:
        raise ValueError(f"{guard.file} holds {whole.count(guard.text)} times {guard.text!r}")
    path.write_text(whole.replace(guard.text, guard.without), encoding="utf-8")
    passes = _passes(copy, guard.test)
    path.write_text(whole, encoding="utf-8")
    file, _, name = guard.test.partition("::")
    case = re.search(r"\[(.+)\]", name)
    test = f"`{file}` {(case[1].rpartition('.')[2] if case else name)}".rstrip()
    outcome = "PASSES" if passes else "fails"
    print(f"| {number} | {guard.against} | `{guard.file}` | {test} | {outcome} |", flush=True)
    return int(passes)


def _passes(copy: Path, test: str) -> bool:
    """Whether a test passes on the copy, within the time."""
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=copy,
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
    )
    return not done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
