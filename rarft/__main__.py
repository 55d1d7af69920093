"""python -m rarft <doctor|world|lint|train|infer|evaluate|course>"""

from rarft.cli import main

if __name__ == "__main__":
    main()
