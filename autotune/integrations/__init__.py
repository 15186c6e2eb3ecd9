"""Other people's trainers and tuners: callbacks that report, and our spaces in their words.

One module each: ``huggingface``, ``lightning`` and ``keras`` report a trainer's validation losses
and stop it, ``optuna`` and ``ray`` search an optimizer's space with presets and divergence handled,
``suggestion`` turns what a tuner chose into an optimizer, ``mlflow`` and ``wandb`` write what a
search found to their trackers. Each imports its library, nothing else
does; ``pip install 'adan-autotune[integrations]'`` installs what the trainers need.
"""
