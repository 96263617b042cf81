"""What `!help` names is there."""

from roommate.composition.features import DECLARED
from roommate.features.help_and_ping import EVERYDAY, FOR_OPERATORS
from roommate.operations import Who


def test_what_help_names_is_there_and_for_whom_it_says() -> None:
    said = {form.words: one.who for one in DECLARED for form in one.chat}
    everyday = [words.split()[0] for _, commands in EVERYDAY for words, _ in commands]
    assert len(everyday) == 6
    assert {said[words] for words in everyday} == {Who.ANYONE}
    of_operators = {form.words for one in DECLARED for form in one.chat if one.who is Who.OPERATORS}
    assert set(FOR_OPERATORS) <= of_operators
