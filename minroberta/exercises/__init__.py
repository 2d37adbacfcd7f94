"""The exercises of the notebooks: a file for each notebook, whose `check(n, answer)` judges an answer.

    from minroberta.exercises.attention import check
    check(1, my_attention)

An answer is right, or a sentence says where it is wrong and, if the mistake is a known one, why.
"""
