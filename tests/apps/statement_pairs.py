"""Pairs of sentences, half of which contradict each other; written before the rules were tried on them, and kept as
they were. (language, first, second, contradict)."""

from __future__ import annotations

PAIRS: tuple[tuple[str, str, str, bool], ...] = (
    ("en", "The Alder Bridge was opened in 1932.", "The Alder Bridge opened to traffic in 1950.", True),
    ("en", "The tower is 42 metres high.", "The tower is 57 metres high.", True),
    ("en", "The library is open on Sundays.", "The library is not open on Sundays.", True),
    ("en", "Training can be resumed after a crash.", "Training cannot be resumed after a crash.", True),
    ("en", "The default block size is 1,024 tokens.", "The default block size is 512 tokens.", True),
    ("en", "The bridge was designed by Clara Voss.", "The bridge was designed by Otto Lind.", True),
    ("en", "The museum is the oldest in the region.", "Two museums in the region are older than this one.", True),
    ("zh", "这座大桥于1932年建成。", "这座大桥于1950年建成通车。", True),
    ("zh", "博物馆周一开放。", "博物馆周一不开放。", True),
    ("zh", "门票价格是三十元。", "门票价格是五十元。", True),
    ("zh", "该模型支持中文。", "该模型不支持中文。", True),
    ("zh", "校长是李华。", "校长是王芳。", True),
    ("en", "The Alder Bridge was opened in 1932.", "The Brindle Bridge was opened in 1950.", False),
    ("en", "The tower is 42 metres high.", "The tower is 12 metres wide.", False),
    ("en", "The road is 1.5 km long.", "The road is 1,500 metres long.", False),
    ("en", "In 1990 the town had 5,000 inhabitants.", "In 2010 the town had 7,200 inhabitants.", False),
    ("en", "The library is open on Sundays.", "The library is not open at night.", False),
    ("en", "Not only the library is open on Sundays.", "The library is open on Sundays.", False),
    ("en", "The course lasts more than 30 hours.", "The course lasts 45 hours.", False),
    ("zh", "东桥于1932年建成。", "西桥于1950年建成。", False),
    ("zh", "这条路长2公里。", "这条路长2000米。", False),
    ("zh", "博物馆周一不开放。", "博物馆周二开放。", False),
    ("zh", "公司有三百名员工。", "公司在三个城市设有办公室。", False),
    ("zh", "他不仅会写诗，还会画画。", "他会写诗，还会画画。", False),
)

# English pairs that share as many words whether they contradict each other or not, written after all else was settled.
MATCHED: tuple[tuple[str, str, bool], ...] = (
    ("The painting shows a stormy sea.", "The painting shows a calm lake.", True),
    ("The river flows north.", "The river flows south.", True),
    ("The company was founded by two brothers.", "The company was founded by a single engineer.", True),
    ("All rooms face the garden.", "None of the rooms face the garden.", True),
    ("The mayor supports the new tram.", "The mayor opposes the new tram.", True),
    ("The cave is dry all year.", "The cave is flooded every spring.", True),
    ("The letter was written in Vienna.", "The letter was written in Prague.", True),
    ("The plant grows best in shade.", "The plant needs full sun to grow.", True),
    ("The painting shows a stormy sea.", "The painting shows a rough sea in a storm.", False),
    ("The river flows north.", "The river flows north into a lake.", False),
    ("The company was founded by two brothers.", "The company sells bicycles.", False),
    ("All rooms face the garden.", "Every room looks out on the garden.", False),
    ("The mayor supports the new tram.", "The mayor lives near the new tram.", False),
    ("The cave is dry all year.", "The cave is 300 metres long.", False),
    ("The letter was written in Vienna.", "The letter was written on blue paper.", False),
    ("The plant grows best in shade.", "The plant grows well under trees.", False),
)
