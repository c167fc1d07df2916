"""Which GPUs answer what was asked for."""

import pytest

from freehold.domain.errors import InvalidRequest
from freehold.domain.gpus import Gpu, GpuRequest, joined, kinds_for, lack, parse, told

T4 = "Tesla T4"
A10G, A10 = "NVIDIA A10G", "NVIDIA A10"
A100_40, A100_80 = "NVIDIA A100-SXM4-40GB", "NVIDIA A100 80GB PCIe"
H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"
MIB = {T4: 15_360, A10G: 23_028, A10: 23_028, A100_40: 40_960, A100_80: 81_920, H100: 81_559, H200: 143_771}
MIB |= {
    "NVIDIA L4": 23_034,
    "NVIDIA L40S": 46_068,
    "NVIDIA GeForce RTX 4090": 24_564,
    "NVIDIA B200": 183_359,
    "NVIDIA B300 SXM6 AC": 275_040,
}
MIB |= {"NVIDIA RTX PRO 6000 Blackwell Server Edition": 97_887, "NVIDIA RTX A6000": 49_140}


def gpus(*names):
    return [Gpu(index=index, name=name, memory_mib=MIB[name]) for index, name in enumerate(names)]


def asked(text, *names, count=1):
    (request,) = parse(text, count)
    return kinds_for(request, gpus(*names))


class TestTypes:
    @pytest.mark.parametrize(
        ("wanted", "name"),
        [
            ("T4", T4),
            ("t4", T4),
            ("L4", "NVIDIA L4"),
            ("L40S", "NVIDIA L40S"),
            ("A10", A10G),
            ("A10G", A10),
            ("A100", A100_40),
            ("A100-80GB", A100_80),
            ("H100!", H100),
            ("B200", "NVIDIA B200"),
            ("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition"),
            ("RTX-4090", "NVIDIA GeForce RTX 4090"),
            ("A6000", "NVIDIA RTX A6000"),
            ("any", "NVIDIA GeForce RTX 4090"),
        ],
    )
    def test_a_type_is_part_of_the_name_that_a_driver_gives(self, wanted, name):
        assert asked(wanted, name) == (name,)

    @pytest.mark.parametrize(
        ("wanted", "name"), [("L4", "NVIDIA L40S"), ("A10", A100_40), ("T4", "NVIDIA L4"), ("A100", A10), ("100", H100)]
    )
    def test_words_are_whole(self, wanted, name):
        assert asked(wanted, name) == ()

    def test_a_size_is_the_least_that_will_do(self):
        assert asked("A100-40GB", A100_80, A100_40) == (A100_40, A100_80)
        assert asked("A100-80GB", A100_40) == ()

    def test_an_exact_size_is_that_size(self):
        assert asked("A100-40GB!", A100_80, A100_40) == (A100_40,)

    def test_an_h100_may_be_an_h200_unless_it_is_meant_exactly(self):
        assert asked("H100", H200, H100) == (H100, H200)
        assert asked("H100!", H200) == ()

    def test_others_are_replaced_by_their_successors_only_if_that_is_said(self):
        assert asked("B200", "NVIDIA B300 SXM6 AC") == ()
        assert asked("B200+", "NVIDIA B300 SXM6 AC", "NVIDIA B200") == ("NVIDIA B200", "NVIDIA B300 SXM6 AC")

    def test_any_is_the_smallest_of_which_there_are_enough(self):
        assert asked("ANY", A100_40, T4) == (T4, A100_40)
        assert asked("ANY", A100_40, T4, A100_40, count=2) == (A100_40,)


class TestWords:
    @pytest.mark.parametrize("text", ["", "T4 ", "T4:1", "-80GB", "A100!!", "A100-", "(", "T4:1,", "T4:0,T4:1", "T4:x,T4:1"])
    def test_what_is_no_type_is_refused(self, text):
        with pytest.raises(InvalidRequest, match="is no type of GPU"):
            parse(text)

    def test_alternatives_survive_being_one_text(self):
        requests = (GpuRequest(type="H100!"), GpuRequest(type="A100-80GB", count=2))
        assert parse(joined(requests)) == requests

    def test_there_are_only_so_many(self):
        with pytest.raises(InvalidRequest, match="At most 16"):
            parse(joined([GpuRequest(type="T4")] * 17))

    def test_they_are_told_as_they_were_written(self):
        assert told(parse("A100", 2)) == 'gpu="A100:2"'
        assert told(parse("H100:1,T4:4")) == 'gpu=["H100", "T4:4"]'


class TestLack:
    def test_is_only_where_no_alternative_can_ever_be_had(self):
        assert lack(parse("H100:1,T4:1"), gpus(T4)) == ""
        assert lack((), gpus()) == ""

    def test_names_what_is_there(self):
        assert lack(parse("T4"), gpus()) == 'asks for gpu="T4", and there is no GPU here'
        assert lack(parse("T4", 2), gpus(T4, A10)) == 'asks for gpu="T4:2", and what is here is 1 x NVIDIA A10, 1 x Tesla T4'
