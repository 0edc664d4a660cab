"""What is proposed, and in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.presentation import AllStoragePresentationContexts

from seriesport.dimse import contexts
from seriesport.dimse.negotiation import request

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
PRIVATE = "1.2.826.0.1.3680043.10.1511.1.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"
MPEG4 = "1.2.840.10008.1.2.4.102"

UIDS = st.lists(st.integers(1, 400).map(lambda n: f"1.2.3.{n}"), max_size=30, unique=True)


@given(likely=UIDS, known=UIDS, syntaxes=st.lists(st.just("1.2.9"), max_size=1))
def test_every_round_fits_into_one_association(
    likely: list[str], known: list[str], syntaxes: list[str]
) -> None:
    for some in contexts.rounds(likely, known, syntaxes):
        assert 0 < len(some.proposals) <= contexts.STORAGE_MAXIMUM
        assert len(set(some.proposals)) == len(some.proposals)
        assert all(len(one.transfer_syntaxes) == 1 and one.scp for one in some.proposals)


def pairs(rounds: list[contexts.Round]) -> set[tuple[str, str]]:
    return {(p.abstract_syntax, p.transfer_syntaxes[0]) for one in rounds for p in one.proposals}


def test_the_first_round_has_the_common_syntaxes_of_the_likely_classes() -> None:
    first = next(iter(contexts.rounds([CT], [CT, SR], [])))
    assert {p.abstract_syntax for p in first.proposals} == {CT}
    assert (CT, JPEG_LS) in pairs([first])
    assert first.proposals[0].transfer_syntaxes == (contexts.EXPLICIT_LITTLE,)


def test_every_syntax_is_tried_for_a_reported_class_and_no_other_class() -> None:
    tried = pairs(list(contexts.rounds([PRIVATE], [PRIVATE], ["1.2.9"])))
    assert {uid for uid, _ in tried} == {PRIVATE}
    assert {(PRIVATE, "1.2.9"), (PRIVATE, MPEG4), (PRIVATE, JPEG_LS)} <= tried


def test_every_storage_class_is_tried_where_none_is_reported() -> None:
    tried = pairs(list(contexts.rounds(contexts.candidates("CT"), [], [])))
    assert {(uid, JPEG_LS) for uid in contexts.storage_classes()} <= tried
    assert (CT, contexts.IMPLICIT_LITTLE) in tried


def test_compressed_syntaxes_are_tried_without_the_uncompressed_ones() -> None:
    alone = [one for one in contexts.rounds([CT], [CT], []) if one.alone]
    compressed = next(one for one in alone if (CT, JPEG_LS) in pairs([one]))
    assert (CT, contexts.EXPLICIT_LITTLE) not in pairs([compressed])


def test_all_storage_classes_of_the_dictionary_are_known() -> None:
    known = set(contexts.storage_classes())
    assert {CT, SR} <= known
    ours = {str(one.abstract_syntax) for one in AllStoragePresentationContexts}
    assert len(ours & known) > 150
    assert contexts.VERIFICATION not in known


def test_candidates_of_every_modality_are_storage_classes() -> None:
    known = set(contexts.storage_classes())
    for modality in ("CT", "MR", "PT", "US", "RTSTRUCT", "SR", "OT", "ct "):
        assert contexts.candidates(modality)
        assert set(contexts.candidates(modality)) <= known
    assert contexts.candidates("??") == ()


def test_a_full_request_is_small() -> None:
    uids = contexts.storage_classes()[: contexts.STORAGE_MAXIMUM]
    proposals = [*contexts.SERVICES, *contexts.storage([(u, JPEG_LS) for u in uids], scp=True)]
    assert len(proposals) == contexts.CONTEXTS_MAXIMUM
    assert len(request("ARCHIVE", "ME", proposals)) < 30_000
