"""corpora.find: given directories, the cache, and downloads (from this process, never the net)."""

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import pathlib
import tarfile
import threading
import zipfile

import pytest

from rntn_jax.data import DataError, corpora

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"
CONTENT = {"train": b"(3 good)\n", "dev": b"(1 bad)\n", "test": b"(2 film)\n"}
PREFIX = "https://example.invalid/"


def corpus_of(sources, content=CONTENT):
    files = {
        split: corpora.CorpusFile((f"{split}.txt",), hashlib.sha256(text).hexdigest())
        for split, text in content.items()
    }
    return corpora.Corpus("a tiny corpus", "free", files, sources)


def zip_of(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tgz_of(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, with one corpus "tiny" in an archive, and no way to the network."""
    monkeypatch.setenv("RNTN_JAX_DATA", str(tmp_path / "cache"))
    source = {split: f"{PREFIX}tiny.zip#trees/{split}.txt" for split in CONTENT}
    monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of((source,))})
    serve(monkeypatch, {})
    return tmp_path / "cache" / "tiny"


def serve(monkeypatch, site):
    """Replaces the download by a look into `site`; returns the list of addresses asked for."""
    asked = []

    def download(address, path):
        asked.append(address)
        if address.removeprefix(PREFIX) not in site:
            raise ConnectionError("no network in tests")
        path.write_bytes(site[address.removeprefix(PREFIX)])

    monkeypatch.setattr(corpora, "_download", download)
    return asked


def check_complete(paths, folder):
    assert list(paths) == ["train", "dev", "test"]
    for split, path in paths.items():
        assert path == folder / f"{split}.txt"
        assert path.read_bytes() == CONTENT[split]
    assert sorted(folder.iterdir()) == sorted(paths.values())  # and no partial files


def trees_of(content):
    return {f"trees/{split}.txt": text for split, text in content.items()}


# Directories of the user.


@pytest.mark.parametrize("folder", [".", "tiny"])
def test_data_dir(cache, tmp_path, folder):
    folder = tmp_path / "mine" / folder
    folder.mkdir(parents=True)
    for split in CONTENT:
        (folder / f"{split}.txt").write_bytes(b"(0 changed)")  # the user's own: no checksum
    paths = corpora.find("tiny", tmp_path / "mine")
    assert paths == {split: folder / f"{split}.txt" for split in CONTENT}
    assert corpora.find("tiny", str(tmp_path / "mine")) == paths


def test_data_dir_without_the_files(cache, tmp_path, monkeypatch):
    asked = serve(monkeypatch, {"tiny.zip": zip_of(trees_of(CONTENT))})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.txt").touch()
    with pytest.raises(DataError, match="tiny: no complete set of files") as caught:
        corpora.find("tiny", tmp_path / "mine")
    for path in ("tiny/train.txt", "tiny/dev.txt", "dev.txt", "test.txt"):
        assert str(tmp_path / "mine" / path) in str(caught.value)
    assert not asked  # no silent download


def test_other_names(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"en_ewt-ud-{split}.conllu").touch()
    assert corpora.find("ud_ewt", tmp_path)["dev"] == tmp_path / "en_ewt-ud-dev.conllu"


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown corpus 'imdb'; there are sst, ptb, conll2000"):
        corpora.find("imdb")


# The cache and downloads.


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("tiny.zip", zip_of(trees_of(CONTENT) | {"other.txt": b"x"})),
        ("tiny.tgz", tgz_of(trees_of(CONTENT))),
        ("tiny.tgz", tgz_of({f"./{name}": text for name, text in trees_of(CONTENT).items()})),
        ("tiny.zip", zip_of({"../../evil.txt": b"x", "/evil.txt": b"x"} | trees_of(CONTENT))),
        ("tiny.tgz", tgz_of({"../../evil.txt": b"x", "/evil.txt": b"x"} | trees_of(CONTENT))),
    ],
)
def test_download_of_archives(cache, monkeypatch, tmp_path, name, archive, capsys):
    source = {split: f"{PREFIX}{name}#trees/{split}.txt" for split in CONTENT}
    monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of((source,))})
    asked = serve(monkeypatch, {name: archive})
    check_complete(corpora.find("tiny"), cache)
    assert asked == [PREFIX + name]
    assert "terms: free" in capsys.readouterr().err
    check_complete(corpora.find("tiny"), cache)  # now from the cache
    assert asked == [PREFIX + name]
    assert not list(tmp_path.rglob("evil*"))


def test_download_of_files(cache, monkeypatch):
    site = {"train.txt.gz": gzip.compress(CONTENT["train"]), "dev": CONTENT["dev"]}
    site["test.txt"] = CONTENT["test"]
    source = {"train": "train.txt.gz", "dev": "dev", "test": "test.txt"}
    source = {split: PREFIX + name for split, name in source.items()}
    monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of((source,))})
    asked = serve(monkeypatch, site)
    check_complete(corpora.find("tiny"), cache)
    assert len(asked) == 3


def test_sources_are_tried_in_order(cache, monkeypatch):
    sources = tuple(
        {split: f"{PREFIX}{tag}.zip#trees/{split}.txt" for split in CONTENT}
        for tag in ("gone", "other", "right", "never")
    )
    monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of(sources)})
    other = zip_of(trees_of(CONTENT | {"dev": b"(2 other)"}))
    asked = serve(monkeypatch, {"other.zip": other, "right.zip": zip_of(trees_of(CONTENT))})
    check_complete(corpora.find("tiny"), cache)
    assert asked == [f"{PREFIX}{tag}.zip" for tag in ("gone", "other", "right")]


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (None, "no network in tests"),
        (zip_of(trees_of(CONTENT | {"train": b"(2 other)\n"})), "refused, SHA-256"),
        (zip_of(trees_of({"train": b""})), "no file trees/test.txt"),
        (zip_of(trees_of(CONTENT))[:100], "zip"),
        (b"<html>Moved</html>", "zip"),
    ],
    ids=["nothing", "other content", "a file too few", "cut short", "a page"],
)
def test_failed_downloads_leave_nothing(cache, monkeypatch, archive, reason):
    serve(monkeypatch, {} if archive is None else {"tiny.zip": archive})
    with pytest.raises(DataError) as caught:
        corpora.find("tiny")
    message = str(caught.value)
    assert reason in message
    assert "put train.txt, dev.txt, test.txt into" in message and "--data_dir" in message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["tgz", "gz"])
def test_broken_archives(cache, monkeypatch, kind):
    whole = tgz_of(trees_of(CONTENT)) if kind == "tgz" else gzip.compress(CONTENT["test"])
    for broken in (whole[: len(whole) // 2], whole[:20], b"", b"<html>Moved</html>"):
        address = f"{PREFIX}tiny.{kind}"
        source = {s: f"{address}#trees/{s}.txt" if kind == "tgz" else address for s in CONTENT}
        monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of((source,))})
        serve(monkeypatch, {f"tiny.{kind}": broken})
        with pytest.raises(DataError, match="could not be downloaded"):
            corpora.find("tiny")
        assert list(cache.iterdir()) == []


def test_interrupted_download_leaves_nothing(cache, monkeypatch):
    def download(address, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(corpora, "_download", download)
    with pytest.raises(KeyboardInterrupt):
        corpora.find("tiny")
    assert list(cache.iterdir()) == []


def test_damaged_cache_is_refused_and_kept(cache):
    cache.mkdir(parents=True)
    for split, text in CONTENT.items():
        (cache / f"{split}.txt").write_bytes(text)
    check_complete(corpora.find("tiny"), cache)
    (cache / "dev.txt").write_bytes(b"(0 changed)")
    with pytest.raises(DataError, match="delete the file") as caught:
        corpora.find("tiny")
    assert caught.value.file == str(cache / "dev.txt")
    assert (cache / "dev.txt").read_bytes() == b"(0 changed)"


def test_incomplete_cache_is_completed_but_nothing_overwritten(cache, monkeypatch):
    serve(monkeypatch, {"tiny.zip": zip_of(trees_of(CONTENT))})
    cache.mkdir(parents=True)
    (cache / "dev.txt").write_bytes(b"(0 changed)")
    with pytest.raises(DataError, match="checksum differs"):
        corpora.find("tiny")
    assert [path.name for path in cache.iterdir()] == ["dev.txt"]
    (cache / "dev.txt").write_bytes(CONTENT["dev"])
    check_complete(corpora.find("tiny"), cache)


def test_cache_that_cannot_be_made(cache, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RNTN_JAX_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="What to do"):
        corpora.find("tiny")


def test_default_cache(monkeypatch):
    monkeypatch.delenv("RNTN_JAX_DATA", raising=False)
    assert corpora._cache_directory().name == "rntn_jax"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def local_server(folder):
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_real_download_from_this_host(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RNTN_JAX_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "tiny.zip").write_bytes(zip_of(trees_of(CONTENT)))
    with local_server(tmp_path / "site") as address:
        gone = {split: f"{address}gone.zip#trees/{split}.txt" for split in CONTENT}
        source = {split: f"{address}tiny.zip#trees/{split}.txt" for split in CONTENT}
        monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of((gone,))})
        with pytest.raises(DataError, match="404"):
            corpora.find("tiny")
        monkeypatch.setattr(corpora, "CORPORA", {"tiny": corpus_of((source,))})
        check_complete(corpora.find("tiny"), tmp_path / "cache" / "tiny")
    assert "tiny.zip: " in capsys.readouterr().err


def test_progress_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = corpora._ProgressBar("a.zip")
    bar.total = 200
    for size in (100, 100):
        bar.update(size)
    bar.reset()
    bar.update(200)
    bar.close()
    shown = capsys.readouterr().err
    assert "50%" in shown and "100%" in shown and shown.endswith("\n")


# The table itself.


def test_table():
    for name, corpus in corpora.CORPORA.items():
        assert dataclasses.is_dataclass(corpus) and corpus.terms and corpus.title
        assert set(corpus.files) in ({"train", "dev", "test"}, {"train", "test"}), name
        for source in corpus.sources:
            assert set(source) == set(corpus.files)
            for address in source.values():
                assert address.startswith("http")
        for file in corpus.files.values():
            assert len(file.sha256) == 64 and int(file.sha256, 16)
    assert "LDC" in corpora.CORPORA["ptb"].terms


@pytest.mark.skipif(not SHARED.is_dir(), reason="no copies of the corpora here")
@pytest.mark.parametrize("name", list(corpora.CORPORA))
def test_checksums_of_the_real_files(name):
    for split, path in corpora.find(name, SHARED).items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == corpora.CORPORA[name].files[split].sha256
