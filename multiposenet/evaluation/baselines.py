"""scikit-learn's classifiers on the same poses and folds as the activity MLP (the article's Table 3)."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from multiposenet.codecs import pose_vector
from multiposenet.data.activity import mirror
from multiposenet.evaluation import activity as evaluation
from multiposenet.recipes.activity import split

# The scores are the means over classes of very different size, hence the class weights.
BASELINES = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)),
    "SVM, RBF kernel": lambda: make_pipeline(StandardScaler(), SVC(class_weight="balanced")),
    "random forest, 500 trees": lambda: RandomForestClassifier(500, class_weight="balanced", random_state=0),
    "9 nearest neighbours": lambda: KNeighborsClassifier(9),
}


def cross_validate(name, table, config, skeleton):
    """`evaluation.summarise` of one of `BASELINES` over the folds of `recipes.activity.cross_validate`.

    Each learns from the training poses and their mirror images.
    """
    figures, classes = [], np.arange(len(table.classes))
    for learn, test in split(table, config.activity.folds, config.train.seed):
        learn, test = table.take(learn), table.take(test)
        poses = np.concatenate([learn.poses, mirror(learn.poses, learn.boxes, skeleton)])
        vectors = _vectors(poses, np.tile(learn.boxes, (2, 1)), config.model)
        classifier = BASELINES[name]().fit(vectors, np.tile(learn.labels, 2))
        found = classifier.predict(_vectors(test.poses, test.boxes, config.model))
        figures.append(evaluation.evaluate(test.labels, found[:, None] == classes, table.classes))
    return evaluation.summarise(figures)


def _vectors(poses, boxes, model):
    return pose_vector.encode(poses, boxes, model.pose_min_score, model.pose_pairs)
